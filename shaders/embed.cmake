# cmake -DNAME=kernel -DINPUT=kernel.spv -DOUTPUT=kernel.c -P embed.cmake: SPIR-V words as a C array.
file(READ ${INPUT} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," words "${bytes}")
string(REGEX REPLACE "(..........,..........,..........,..........,..........,..........,..........,..........,)" "\\1\n" words "${words}")
file(WRITE ${OUTPUT} "#include \"shaders/shaders.h\"
extern const uint32_t dure_spirv_${NAME}[];
extern const uint32_t dure_spirv_${NAME}_bytes;
const uint32_t dure_spirv_${NAME}[] = {
${words}
};
const uint32_t dure_spirv_${NAME}_bytes = ${size};
")
