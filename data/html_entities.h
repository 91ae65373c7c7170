// Character references of HTML (HTML Living Standard, section 13.2.5.72): &amp; &#233; &#x1112;
#ifndef DURE_DATA_HTML_ENTITIES_H_
#define DURE_DATA_HTML_ENTITIES_H_

#include <stddef.h>

// The reference at `text`, which begins with &: writes the character's UTF-8, at most 4 bytes, and returns how many
// bytes of `text` it takes; 0 when it is none. Named are HTML 4's 253 characters and those of HTML 5 that pages use.
size_t dure_html_reference(const char *text, size_t size, char out_utf8[8], size_t *out_size);

#endif  // DURE_DATA_HTML_ENTITIES_H_
