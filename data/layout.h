// Marked-up documents as plain text: a parser reports elements by their role and characters, and the layout keeps what
// a reader would read.
//
//   headings, paragraphs, quotations     blocks with a blank line between them
//   list items                           a line each, "- " or "1. " before it, nested lists indented by two spaces
//   table rows                           a line each, cells separated by " | "
//   preformatted text                    as it is; elsewhere runs of white space become one space
//   skipped elements                     nothing
//
// When the whole document is known, menus are dropped by what they look like: runs of three or more blocks that are
// nearly all link text, headings that are left with nothing under them, a block that repeats the one before it; and
// where a document has a main part, everything outside it.
#ifndef DURE_DATA_LAYOUT_H_
#define DURE_DATA_LAYOUT_H_

#include <stdint.h>

#include "data/bytes.h"

typedef enum dure_role {
  DURE_ROLE_INLINE = 0,    // part of the running text
  DURE_ROLE_SKIP,          // left out with everything in it
  DURE_ROLE_LINE,          // begins a new line
  DURE_ROLE_BLOCK,         // blank lines around it
  DURE_ROLE_MAIN,          // a block outside of which nothing matters
  DURE_ROLE_PARAGRAPH,     // a block of running text
  DURE_ROLE_HEADING,       // likewise
  DURE_ROLE_PREFORMATTED,  // white space counts
  DURE_ROLE_CODE,          // preformatted among blocks, inline in running text
  DURE_ROLE_LIST,
  DURE_ROLE_NUMBERED_LIST,
  DURE_ROLE_ITEM,
  DURE_ROLE_DEFINITIONS,  // a list of terms and their descriptions
  DURE_ROLE_DEFINITION,   // one term with its description, where the vocabulary groups them
  DURE_ROLE_TERM,
  DURE_ROLE_TABLE,
  DURE_ROLE_ROW,
  DURE_ROLE_CELL,
  DURE_ROLE_BREAK,      // an empty element that ends the line
  DURE_ROLE_RULE,       // an empty element that ends the block
  DURE_ROLE_LINK,       // inline
  DURE_ROLE_KEYS,       // its children are joined by "+"
  DURE_ROLE_MENU_PATH,  // its children are joined by " > "
} dure_role;

typedef struct dure_layout dure_layout;

DURE_MUST_CHECK dure_status dure_layout_create(dure_layout **out_layout);
void dure_layout_destroy(dure_layout *layout);  // NULL is fine

// Begins another document.
void dure_layout_reset(dure_layout *layout);

// An element begins or ends. Every open is matched by a close; more closes than opens are ignored. False when elements
// are nested deeper than 512: the caller gives the document up.
bool dure_layout_open(dure_layout *layout, dure_role role);
void dure_layout_close(dure_layout *layout);
// The number of the item just opened, or of the first item of the numbered list just opened.
void dure_layout_number(dure_layout *layout, uint32_t number);
// The role of the innermost open element (or the one `above` levels further out), DURE_ROLE_INLINE when there is none.
dure_role dure_layout_role(const dure_layout *layout, size_t above);
bool dure_layout_is_inside(const dure_layout *layout, dure_role role);  // whether any open element has this role
// Whether characters would be dropped now.
bool dure_layout_is_skipping(const dure_layout *layout);

// Valid UTF-8 text in document order; a character is never split between calls.
void dure_layout_characters(dure_layout *layout, const char *text, size_t size);

// Appends the document's text to `out`.
DURE_MUST_CHECK dure_status dure_layout_finish(dure_layout *layout, dure_bytes *out);

#endif  // DURE_DATA_LAYOUT_H_
