// HTML and XML documents into a layout (data/layout.h): HTML by a tokenizer of our own, XML by libxml2's reader.
//
// Both take valid UTF-8 (data/decode.h). Nothing but the given bytes is ever read: no network, no external entities or
// DTDs, no XInclude; entities that a document defines itself are taken when they are plain text, within a budget that
// rules out their multiplication. Which element is what is said by the tables in markup_roles.c.
//
// DURE_CORRUPT when XML is not well-formed or elements are nested too deeply: the document is to be left out. HTML is
// read as browsers do, whatever it looks like.
#ifndef DURE_DATA_MARKUP_H_
#define DURE_DATA_MARKUP_H_

#include "data/layout.h"

DURE_MUST_CHECK dure_status dure_html_read(const char *text, size_t size, dure_layout *layout);

// Mallard, DocBook and XHTML by their own tables; of other XML, text by DocBook's names, every unknown element being a
// line of its own.
DURE_MUST_CHECK dure_status dure_xml_read(const char *text, size_t size, dure_layout *layout);

// Markdown as a reader reads it, appended to `out`: front matter, comments and definitions of links go, links and
// pictures leave their text, headings lose their signs; lists, tables, emphasis and code stay as they are.
void dure_markdown_read(const char *text, size_t size, dure_bytes *out);

// ---- the tables ----
typedef enum dure_vocabulary { DURE_HTML, DURE_MALLARD, DURE_DOCBOOK, DURE_OTHER_XML } dure_vocabulary;

// The role of an element by its name without prefix, lower case in HTML.
dure_role dure_markup_role(dure_vocabulary vocabulary, const char *name);
// Whether an attribute says that an element is navigation, an advertisement or hidden: DocBook's, Sphinx's, MediaWiki's
// and other customary class names and ids, ARIA roles. `value` may be NULL.
bool dure_markup_is_boilerplate(const char *attribute, const char *value);
// Whether an attribute of an <aside>, which is left out otherwise, says that it is a footnote or a note to the text.
bool dure_markup_is_note(const char *attribute, const char *value);

#endif  // DURE_DATA_MARKUP_H_
