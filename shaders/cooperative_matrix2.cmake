# For rewrite.cmake: says what GLSL cannot in the assembly in FILE, in place.
#
# The types of tensor layouts and views get their operands, and a place behind the constants that these are; a call that
# stands where OpCooperativeMatrixPerElementOpNV takes a function becomes that function.
file(READ ${FILE} text)
string(REPLACE ";" "\\;" text "${text}")
set(types "")
if(NOT text MATCHES "(%[0-9]+) = OpTypeInt 32 0\n")
  message(FATAL_ERROR "${FILE}: no type of 32-bit integers")
endif()
set(uint ${CMAKE_MATCH_1})
if(NOT text MATCHES "(%[0-9]+) = OpTypeBool\n")
  message(FATAL_ERROR "${FILE}: no type of bools")
endif()
set(bool ${CMAKE_MATCH_1})
string(APPEND types "%tensor_zero = OpConstant ${uint} 0\n%tensor_one = OpConstant ${uint} 1\n%tensor_two = OpConstant ${uint} 2\n"
  "%tensor_false = OpConstantFalse ${bool}\n")
# Two dimensions; outside: a constant, 0 (TensorClampMode Constant).
if(NOT text MATCHES "(%[0-9]+) = OpTypeTensorLayoutNV [^\n]*\n")
  message(FATAL_ERROR "${FILE}: no tensor layout")
endif()
string(APPEND types "${CMAKE_MATCH_1} = OpTypeTensorLayoutNV %tensor_two %tensor_one\n")
# Two dimensions as the layout has them, swapped.
if(text MATCHES "(%[0-9]+) = OpTypeTensorViewNV [^\n]*\n")
  string(APPEND types "${CMAKE_MATCH_1} = OpTypeTensorViewNV %tensor_two %tensor_false %tensor_one %tensor_zero\n")
endif()
string(REGEX REPLACE " *%[0-9]+ = OpTypeTensor(Layout|View)NV [^\n]*\n" "" text "${text}")

if(NOT text MATCHES " OpCooperativeMatrixPerElementOpNV %[0-9]+ %[0-9]+ (%[0-9]+)")
  message(FATAL_ERROR "${FILE}: no operation on each element")
endif()
set(call ${CMAKE_MATCH_1})
if(NOT text MATCHES "${call} = OpFunctionCall %[0-9]+ (%[0-9]+)[^\n]*\n")
  message(FATAL_ERROR "${FILE}: ${call} is no call")
endif()
set(function ${CMAKE_MATCH_1})
string(REGEX REPLACE " *${call} = OpFunctionCall [^\n]*\n" "" text "${text}")
string(REGEX REPLACE "(OpCooperativeMatrixPerElementOpNV %[0-9]+ %[0-9]+) ${call}" "\\1 ${function}" text "${text}")

string(REGEX MATCH "\n *%[0-9]+ = OpFunction [^\n]*\n" first "${text}")
string(FIND "${text}" "${first}" at)
string(SUBSTRING "${text}" 0 ${at} head)
string(SUBSTRING "${text}" ${at} -1 tail)
string(REPLACE "\\;" ";" text "${head}\n${types}${tail}")
file(WRITE ${FILE} "${text}")
