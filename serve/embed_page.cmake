# Writes the bytes of PAGE as a C array into OUTPUT.
file(READ ${PAGE} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"serve/page.h\"\n\nconst unsigned char serve_page[] = {${bytes}};\nconst size_t serve_page_size = sizeof(serve_page);\n")
