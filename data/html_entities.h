// Character references of HTML (HTML Living Standard, section 13.2.5.72): &amp; &#233; &#x1112;
#ifndef DURE_DATA_HTML_ENTITIES_H_
#define DURE_DATA_HTML_ENTITIES_H_

#include <stddef.h>

// The reference at `text`, which begins with &: writes its one or two characters in UTF-8, at most 6 bytes, and returns
// how many bytes of `text` it takes; 0 when it is none. All 2,231 names are known (scripts/html_entities.py).
size_t dure_html_reference(const char *text, size_t size, char out_utf8[8], size_t *out_size);

#endif  // DURE_DATA_HTML_ENTITIES_H_
