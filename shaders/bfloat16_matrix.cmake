# For rewrite.cmake: makes the 16-bit float type of the assembly in FILE bf16, in place.
#
# SPV_KHR_bfloat16 allows bf16 in matrices, conversions and dot products only. The kernels that pass here use float16_t
# for the factors of cooperative matrices and the buffers that these are loaded from, nothing else, so the type and its
# capabilities are all that changes.
file(READ ${FILE} text)
string(REPLACE ";" "\\;" text "${text}")
foreach(pattern "OpCapability Float16\n" "OpTypeFloat 16\n")
  string(REGEX MATCHALL "${pattern}" matches "${text}")
  list(LENGTH matches count)
  if(NOT count EQUAL 1)
    message(FATAL_ERROR "${FILE}: '${pattern}' occurs ${count} times, expected once")
  endif()
endforeach()
string(REPLACE "\\;" ";" text "${text}")
string(REGEX REPLACE "OpCapability Float16\n"
  "OpCapability BFloat16TypeKHR\n               OpCapability BFloat16CooperativeMatrixKHR\n" text "${text}")
string(REGEX REPLACE "(OpExtension \"SPV_KHR_cooperative_matrix\"\n)"
  "\\1               OpExtension \"SPV_KHR_bfloat16\"\n" text "${text}")
string(REPLACE "OpTypeFloat 16\n" "OpTypeFloat 16 BFloat16KHR\n" text "${text}")
file(WRITE ${FILE} "${text}")
