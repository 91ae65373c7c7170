// XML, by libxml2's reader: one node at a time.
#include "data/markup.h"

#include <stdint.h>
#include <string.h>

#include <libxml/xmlreader.h>

enum { ENTITY_SIZE_LIMIT = 1024, ENTITY_BUDGET = 1 << 20, ENTITY_COUNT_LIMIT = 1 << 20 };

typedef struct reading {
  xmlTextReaderPtr reader;
  dure_layout *layout;
  dure_vocabulary vocabulary;
  size_t entity_bytes;  // that entities have brought in so far
  size_t entity_count;  // references so far: the reader keeps each until its element ends
} reading;

static void ignore_error(void *context, xmlErrorPtr error) {
  (void)context;
  (void)error;
}

// By the namespace or the name of the root element.
static dure_vocabulary vocabulary_of(const char *name, const char *namespace_uri) {
  static const struct {
    const char *namespace_uri;
    dure_vocabulary vocabulary;
  } namespaces[] = {
      {"http://projectmallard.org/1.0/", DURE_MALLARD},
      {"http://docbook.org/ns/docbook", DURE_DOCBOOK},
      {"http://www.w3.org/1999/xhtml", DURE_HTML},
  };
  for (size_t i = 0; namespace_uri != NULL && i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
    if (strcmp(namespace_uri, namespaces[i].namespace_uri) == 0) return namespaces[i].vocabulary;
  }
  if (strcmp(name, "html") == 0) return DURE_HTML;
  static const char *const docbook_roots[] = {"set",      "book",    "part",     "article", "chapter",
                                              "appendix", "preface", "refentry", "section", "sect1",
                                              "sect2",    "sect3",   "glossary", "para",    "bibliography"};
  for (size_t i = 0; i < sizeof(docbook_roots) / sizeof(docbook_roots[0]); i++) {
    if (strcmp(name, docbook_roots[i]) == 0) return DURE_DOCBOOK;
  }
  return DURE_OTHER_XML;
}

// Names whose role depends on where they stand.
static dure_role role_in_place(const reading *state, dure_role role, const char *name) {
  dure_role parent = dure_layout_role(state->layout, 0);
  if (role == DURE_ROLE_ITEM && parent == DURE_ROLE_DEFINITIONS) return DURE_ROLE_DEFINITION;
  if (role == DURE_ROLE_ITEM && parent == DURE_ROLE_DEFINITION) return DURE_ROLE_LINE;
  if (state->vocabulary == DURE_MALLARD && strcmp(name, "title") == 0) {
    if (parent == DURE_ROLE_DEFINITION) return DURE_ROLE_TERM;
    if (parent == DURE_ROLE_ITEM) return DURE_ROLE_INLINE;  // of a tree
  }
  return role;
}

static bool is_boilerplate(xmlTextReaderPtr reader) {
  bool found = false;
  while (!found && xmlTextReaderMoveToNextAttribute(reader) == 1) {
    const char *name = (const char *)xmlTextReaderConstLocalName(reader);
    found = name != NULL && dure_markup_is_boilerplate(name, (const char *)xmlTextReaderConstValue(reader));
  }
  xmlTextReaderMoveToElement(reader);
  return found;
}

static dure_status open_element(reading *state) {
  const char *name = (const char *)xmlTextReaderConstLocalName(state->reader);
  const char *namespace_uri = (const char *)xmlTextReaderConstNamespaceUri(state->reader);
  if (name == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading XML");
  if (xmlTextReaderDepth(state->reader) == 0) state->vocabulary = vocabulary_of(name, namespace_uri);
  bool is_empty = xmlTextReaderIsEmptyElement(state->reader) == 1;
  dure_role role = DURE_ROLE_INLINE;
  if (!dure_layout_is_skipping(state->layout)) {
    role = role_in_place(state, dure_markup_role(state->vocabulary, name), name);
    if (state->vocabulary == DURE_HTML && is_boilerplate(state->reader)) role = DURE_ROLE_SKIP;
  }
  if (!dure_layout_open(state->layout, role)) return dure_fail(DURE_CORRUPT, "elements are nested too deeply");
  if (is_empty) dure_layout_close(state->layout);
  return NULL;
}

static void read_text(reading *state) {
  const char *text = (const char *)xmlTextReaderConstValue(state->reader);
  if (text != NULL) dure_layout_characters(state->layout, text, strlen(text));
}

// An entity of the document's own that is plain text. Others, external ones above all, are left out: the reader does
// not replace entities, so that none is ever fetched or multiplied.
static void read_entity(reading *state) {
  const xmlChar *name = xmlTextReaderConstName(state->reader);
  const xmlNode *node =
      xmlTextReaderCurrentNode(state->reader);  // xmlTextReaderCurrentDoc would hand the tree over to us
  xmlEntityPtr entity = name != NULL && node != NULL ? xmlGetDocEntity(node->doc, name) : NULL;
  if (entity == NULL || entity->etype != XML_INTERNAL_GENERAL_ENTITY || entity->content == NULL) return;
  const char *text = (const char *)entity->content;
  size_t size = strlen(text);
  if (size > ENTITY_SIZE_LIMIT || strpbrk(text, "<&") != NULL || size > ENTITY_BUDGET - state->entity_bytes) return;
  state->entity_bytes += size;
  dure_layout_characters(state->layout, text, size);
}

static dure_status read_nodes(reading *state) {
  int more;
  while ((more = xmlTextReaderRead(state->reader)) == 1) {
    switch (xmlTextReaderNodeType(state->reader)) {
      case XML_READER_TYPE_ELEMENT: DURE_TRY(open_element(state)); break;
      case XML_READER_TYPE_END_ELEMENT: dure_layout_close(state->layout); break;
      case XML_READER_TYPE_TEXT:
      case XML_READER_TYPE_CDATA:
      case XML_READER_TYPE_WHITESPACE:
      case XML_READER_TYPE_SIGNIFICANT_WHITESPACE: read_text(state); break;
      case XML_READER_TYPE_ENTITY_REFERENCE:
        if (++state->entity_count > ENTITY_COUNT_LIMIT) return dure_fail(DURE_CORRUPT, "more than a million entities");
        read_entity(state);
        break;
      default: break;
    }
  }
  return more == 0 ? NULL : dure_fail(DURE_CORRUPT, "the XML is not well-formed");
}

dure_status dure_xml_read(const char *text, size_t size, dure_layout *layout) {
  if (size > INT32_MAX) return dure_fail(DURE_CORRUPT, "an XML document of more than 2 GiB");
  xmlSetStructuredErrorFunc(NULL, ignore_error);  // some of libxml2's complaints ignore the options
  const int options =
      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_COMPACT | XML_PARSE_IGNORE_ENC;
  xmlTextReaderPtr reader = xmlReaderForMemory(text, (int)size, NULL, "UTF-8", options);
  if (reader == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading XML");
  xmlTextReaderSetStructuredErrorHandler(reader, ignore_error, NULL);
  reading state = {.reader = reader, .layout = layout, .vocabulary = DURE_OTHER_XML};
  dure_status status = read_nodes(&state);
  xmlFreeTextReader(reader);
  return status;
}
