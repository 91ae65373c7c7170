# cmake -DTOOLS=FOLDER -DSCRIPT=bfloat16 -DFILE=kernel.spv -P rewrite.cmake: SCRIPT.cmake changes a kernel's assembly, in
# place, by FOLDER's bin/spirv-dis and bin/spirv-as.
set(kernel ${FILE})
set(FILE ${kernel}asm)
set(ENV{LD_LIBRARY_PATH} ${TOOLS}/lib)
execute_process(COMMAND ${TOOLS}/bin/spirv-dis --raw-id ${kernel} -o ${FILE} COMMAND_ERROR_IS_FATAL ANY)
include(${CMAKE_CURRENT_LIST_DIR}/${SCRIPT}.cmake)
execute_process(COMMAND ${TOOLS}/bin/spirv-as --target-env vulkan1.2 ${FILE} -o ${kernel} COMMAND_ERROR_IS_FATAL ANY)
