// The chat page (page.html), which the build makes bytes of.
#ifndef DURE_SERVE_PAGE_H_
#define DURE_SERVE_PAGE_H_

#include <stddef.h>

extern const unsigned char serve_page[];
extern const size_t serve_page_size;

#endif  // DURE_SERVE_PAGE_H_
