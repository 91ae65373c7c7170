// HTML, by libxml2's SAX interface: no tree is built, so memory is the document and its text.
#include "data/markup.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include <libxml/HTMLparser.h>

typedef struct reading {
  dure_layout *layout;
  htmlParserCtxtPtr parser;
  bool is_too_deep;
} reading;

static dure_role role_of(const reading *state, const char *name, const xmlChar **attributes) {
  dure_role role = dure_markup_role(DURE_HTML, name);
  // A page's header is boilerplate, an article's holds its title.
  bool is_article =
      dure_layout_is_inside(state->layout, DURE_ROLE_MAIN) || dure_layout_is_inside(state->layout, DURE_ROLE_BLOCK);
  if (is_article && strcmp(name, "header") == 0) role = DURE_ROLE_LINE;
  bool is_root = strcmp(name, "html") == 0 || strcmp(name, "body") == 0;
  for (size_t i = 0; attributes != NULL && attributes[i] != NULL && role != DURE_ROLE_SKIP && !is_root; i += 2) {
    const char *attribute = (const char *)attributes[i], *value = (const char *)attributes[i + 1];
    if (dure_markup_is_boilerplate(attribute, value)) role = DURE_ROLE_SKIP;
    if (value != NULL && strcmp(attribute, "role") == 0 && strcmp(value, "main") == 0) role = DURE_ROLE_MAIN;
  }
  return role;
}

static void on_start(void *context, const xmlChar *name, const xmlChar **attributes) {
  reading *state = context;
  if (state->is_too_deep) return;
  bool is_skipping = dure_layout_is_skipping(state->layout);
  dure_role role = is_skipping ? DURE_ROLE_INLINE : role_of(state, (const char *)name, attributes);
  if (dure_layout_open(state->layout, role)) return;
  state->is_too_deep = true;
  xmlStopParser(state->parser);
}

static void on_end(void *context, const xmlChar *name) {
  reading *state = context;
  (void)name;
  if (!state->is_too_deep) dure_layout_close(state->layout);
}

static void on_characters(void *context, const xmlChar *text, int size) {
  reading *state = context;
  if (!state->is_too_deep && size > 0) dure_layout_characters(state->layout, (const char *)text, (size_t)size);
}

dure_status dure_html_read(const char *text, size_t size, dure_layout *layout) {
  if (size > INT32_MAX) return dure_fail(DURE_CORRUPT, "an HTML document of more than 2 GiB");
  htmlParserCtxtPtr parser = htmlNewParserCtxt();
  if (parser == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading HTML");
  reading state = {layout, parser, false};
  memset(parser->sax, 0, sizeof(*parser->sax));
  parser->sax->startElement = on_start;
  parser->sax->endElement = on_end;
  parser->sax->characters = on_characters;
  parser->sax->ignorableWhitespace = on_characters;  // without a tree the parser cannot tell that it matters
  parser->userData = &state;
  const int options =
      HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC;
  htmlDocPtr document = htmlCtxtReadMemory(parser, text, (int)size, NULL, "UTF-8", options);
  if (document != NULL) xmlFreeDoc(document);
  htmlFreeParserCtxt(parser);
  return state.is_too_deep ? dure_fail(DURE_CORRUPT, "elements are nested too deeply") : NULL;
}
