// HTML in one pass: a tokenizer with as much of the tree's rules as text needs (HTML Living Standard, sections 13.1.2
// and 13.2): elements that have no content, that end where others begin, and whose content is not markup. No tree is
// built; memory is the names of the open elements.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/html_entities.h"
#include "data/markup.h"
#include "data/name_list.h"

enum { DEPTH_LIMIT = 500, NAME_SIZE = 16, VALUE_SIZE = 512, CACHE_SIZE = 256, NO_NUMBER = -1 };

// What the rules of ending need to know about an element.
typedef enum kind {
  KIND_OTHER,
  KIND_PARAGRAPH,
  KIND_ITEM,     // li
  KIND_TERM,     // dt, dd
  KIND_ROW,      // tr
  KIND_CELL,     // td, th
  KIND_SECTION,  // thead, tbody, tfoot, caption, colgroup
  KIND_TABLE,
  KIND_LIST,    // ul, ol, dl, menu, dir
  KIND_OPTION,  // option, optgroup
  KIND_HEADING,
  KIND_LINK,       // a
  KIND_FORMAT,     // b, i, span, ...: may be closed out of order
  KIND_BLOCK,      // ends a paragraph
  KIND_EMPTY,      // has no content
  KIND_RAW,        // its content is text until its end tag
  KIND_PLAINTEXT,  // and this one's until the end of the document
  KIND_ROOT,       // html, body: their tags may come anywhere and change nothing
} kind;

typedef struct element {
  char name[NAME_SIZE];
  uint64_t hash;
  dure_role role;
  kind kind;
} element;

static const struct {
  kind kind;
  const char *names;
} kinds[] = {
    {KIND_PARAGRAPH, "p"},
    {KIND_ITEM, "li"},
    {KIND_TERM, "dt dd"},
    {KIND_ROW, "tr"},
    {KIND_CELL, "td th"},
    {KIND_SECTION, "thead tbody tfoot caption colgroup"},
    {KIND_TABLE, "table"},
    {KIND_LIST, "ul ol dl menu dir"},
    {KIND_OPTION, "option optgroup"},
    {KIND_HEADING, "h1 h2 h3 h4 h5 h6"},
    {KIND_LINK, "a"},
    {KIND_FORMAT, "b i u s em strong small big tt code font span nobr strike sub sup label cite var kbd samp abbr q"},
    {KIND_BLOCK,
     "address article aside blockquote center details dialog div fieldset figcaption figure footer form header hgroup "
     "main nav pre listing section summary search"},
    {KIND_EMPTY, "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"},
    {KIND_RAW, "script style textarea title xmp iframe noembed noframes noscript"},
    {KIND_PLAINTEXT, "plaintext"},
    {KIND_ROOT, "html body"},
};

typedef struct tokenizer {
  const char *cursor, *end;
  dure_layout *layout;
  element elements[DEPTH_LIMIT];  // open ones
  size_t depth;
  size_t articles;  // open elements that a header may head
  bool is_too_deep;
  bool is_note;            // what the tag read last says it is
  int64_t number;          // that the tag read last gives its list or item, or NO_NUMBER
  char value[VALUE_SIZE];  // of the attribute read last, entities and all
} tokenizer;

// ---- elements ----

static kind kind_of(const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    if (dure_name_is_listed(kinds[i].names, name, length)) return kinds[i].kind;
  }
  return KIND_OTHER;
}

static uint64_t hash_bytes(const char *bytes, size_t size, uint64_t seed) {
  uint64_t hash = seed;
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
  hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
  return hash != 0 ? hash : 1;
}

// An element by its name in lower case. The tables of words are asked once for each name that a thread meets.
static const element *find_element(const char *name, size_t length) {
  static _Thread_local element cache[CACHE_SIZE];
  uint64_t hash = hash_bytes(name, length, UINT64_C(0xcbf29ce484222325));
  element *found = &cache[hash >> 56];
  if (found->hash == hash && memcmp(found->name, name, length) == 0 && found->name[length] == '\0') return found;
  memset(found, 0, sizeof(*found));
  memcpy(found->name, name, length);
  found->hash = hash;
  found->role = dure_markup_role(DURE_HTML, found->name);
  found->kind = kind_of(found->name);
  return found;
}

// Whether an attribute marks boilerplate, remembered likewise by a hash of name and value.
static bool is_boilerplate(const char *name, size_t name_length, const char *value, size_t value_length) {
  static _Thread_local struct {
    uint64_t hash;
    bool is_boilerplate;
  } cache[4 * CACHE_SIZE];
  uint64_t hash = hash_bytes(value, value_length, hash_bytes(name, name_length, UINT64_C(0xcbf29ce484222325)));
  size_t slot = hash >> 54;
  if (cache[slot].hash != hash) {
    cache[slot].hash = hash;
    cache[slot].is_boilerplate = dure_markup_is_boilerplate(name, value);
  }
  return cache[slot].is_boilerplate;
}

static void open_element(tokenizer *state, const element *opened, dure_role role) {
  if (state->depth == DEPTH_LIMIT || !dure_layout_open(state->layout, role)) {
    state->is_too_deep = true;
    return;
  }
  element *top = &state->elements[state->depth++];
  *top = *opened;
  top->role = role;
  state->articles += role == DURE_ROLE_MAIN || role == DURE_ROLE_BLOCK;
}

static void close_to(tokenizer *state, size_t depth) {
  while (state->depth > depth) {
    dure_role role = state->elements[--state->depth].role;
    state->articles -= role == DURE_ROLE_MAIN || role == DURE_ROLE_BLOCK;
    dure_layout_close(state->layout);
  }
}

// Closes the innermost open element of that kind, and what is open inside it, unless one of the others stands before
// it.
static void close_kind(tokenizer *state, kind wanted, uint32_t barriers) {
  for (size_t i = state->depth; i-- > 0;) {
    kind found = state->elements[i].kind;
    if (found == wanted) {
      close_to(state, i);
      return;
    }
    if ((barriers >> found & 1) != 0) return;
  }
}

#define BIT(kind) (1u << (kind))
#define TABLE_PARTS (BIT(KIND_TABLE) | BIT(KIND_CELL) | BIT(KIND_SECTION))

// What ends where this element begins.
static void close_before(tokenizer *state, kind beginning) {
  switch (beginning) {
    case KIND_ITEM: close_kind(state, KIND_ITEM, BIT(KIND_LIST) | TABLE_PARTS); break;
    case KIND_TERM: close_kind(state, KIND_TERM, BIT(KIND_LIST) | TABLE_PARTS); break;
    case KIND_CELL: close_kind(state, KIND_CELL, BIT(KIND_TABLE) | BIT(KIND_ROW)); break;
    case KIND_ROW: close_kind(state, KIND_ROW, BIT(KIND_TABLE)); break;
    case KIND_SECTION:
      close_kind(state, KIND_ROW, BIT(KIND_TABLE));
      close_kind(state, KIND_SECTION, BIT(KIND_TABLE));
      break;
    case KIND_OPTION: close_kind(state, KIND_OPTION, ~0u); break;
    case KIND_LINK: close_kind(state, KIND_LINK, TABLE_PARTS); break;
    default: break;
  }
  switch (beginning) {
    case KIND_PARAGRAPH:
    case KIND_ITEM:
    case KIND_TERM:
    case KIND_TABLE:
    case KIND_LIST:
    case KIND_HEADING:
    case KIND_BLOCK: close_kind(state, KIND_PARAGRAPH, TABLE_PARTS | BIT(KIND_ITEM) | BIT(KIND_TERM)); break;
    default: break;
  }
}

static void end_element(tokenizer *state, const element *ending) {
  // A formatting element's end is looked for within its block, so that a stray </b> closes no table.
  uint32_t barriers = ending->kind == KIND_FORMAT || ending->kind == KIND_LINK || ending->kind == KIND_OTHER
                          ? TABLE_PARTS | BIT(KIND_LIST) | BIT(KIND_ITEM)
                      : ending->kind == KIND_PARAGRAPH ? TABLE_PARTS
                      : ending->kind == KIND_CELL || ending->kind == KIND_ROW || ending->kind == KIND_SECTION
                          ? BIT(KIND_TABLE)
                      : ending->kind == KIND_ITEM || ending->kind == KIND_TERM ? TABLE_PARTS | BIT(KIND_LIST)
                      : ending->kind == KIND_TABLE                             ? 0
                                                                               : BIT(KIND_CELL) | BIT(KIND_TABLE);
  for (size_t i = state->depth; i-- > 0;) {
    const element *open = &state->elements[i];
    bool is_heading = open->kind == KIND_HEADING && ending->kind == KIND_HEADING;
    if (is_heading || (open->hash == ending->hash && strcmp(open->name, ending->name) == 0)) {
      close_to(state, i);
      return;
    }
    if ((barriers >> open->kind & 1) != 0) return;
  }
}

// ---- characters ----

static void text(tokenizer *state, const char *bytes, size_t size) {
  if (size > 0) dure_layout_characters(state->layout, bytes, size);
}

// Text with character references in it.
static void text_with_references(tokenizer *state, const char *bytes, size_t size) {
  if (dure_layout_is_skipping(state->layout)) return;
  for (size_t i = 0; i < size;) {
    const char *reference = memchr(bytes + i, '&', size - i);
    if (reference == NULL) {
      text(state, bytes + i, size - i);
      return;
    }
    size_t at = (size_t)(reference - bytes);
    text(state, bytes + i, at - i);
    char decoded[8];
    size_t decoded_size = 0, taken = dure_html_reference(reference, size - at, decoded, &decoded_size);
    if (taken == 0) {
      text(state, "&", 1);
      taken = 1;
    } else {
      text(state, decoded, decoded_size);
    }
    i = at + taken;
  }
}

// ---- tags ----

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }
static bool is_letter(char byte) { return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'); }

// The name of a tag at the cursor, in lower case and cut to NAME_SIZE.
static size_t read_name(tokenizer *state, char name[NAME_SIZE]) {
  size_t length = 0;
  while (state->cursor < state->end && !is_space(*state->cursor) && *state->cursor != '>' && *state->cursor != '/') {
    char byte = *state->cursor++;
    if (length < NAME_SIZE - 1) name[length++] = (char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
  }
  name[length] = '\0';
  return length;
}

static void skip_space(tokenizer *state) {
  while (state->cursor < state->end && is_space(*state->cursor)) state->cursor++;
}

// The value behind an equals sign, into state->value, cut to VALUE_SIZE.
static size_t read_value(tokenizer *state) {
  const char *start = state->cursor;
  size_t size;
  if (start < state->end && (*start == '"' || *start == '\'')) {
    const char *quote = memchr(start + 1, *start, (size_t)(state->end - start - 1));
    start++;
    size = (size_t)((quote != NULL ? quote : state->end) - start);
    state->cursor = quote != NULL ? quote + 1 : state->end;
  } else {
    while (state->cursor < state->end && !is_space(*state->cursor) && *state->cursor != '>') state->cursor++;
    size = (size_t)(state->cursor - start);
  }
  if (size >= VALUE_SIZE) size = VALUE_SIZE - 1;
  memcpy(state->value, start, size);
  state->value[size] = '\0';
  return size;
}

static bool ends_name(char byte) { return is_space(byte) || byte == '=' || byte == '>' || byte == '/'; }

// Of the attributes that dure_markup_is_boilerplate knows: aria-hidden, class, hidden, id, role, style.
static bool may_be_boilerplate(char first) {
  return first == 'c' || first == 'i' || first == 'a' || first == 'h' || first == 'r' || first == 's';
}

// <ol start>, <li value>
static bool is_number(dure_role role, const char *name) {
  return (role == DURE_ROLE_NUMBERED_LIST && strcmp(name, "start") == 0) ||
         (role == DURE_ROLE_ITEM && strcmp(name, "value") == 0);
}

static int64_t number_of(const char *value) {
  char *end = NULL;
  const long number = strtol(value, &end, 10);
  return end != value && number > 0 && number < 1000000 ? number : NO_NUMBER;
}

// Attributes up to the end of the tag. Gives the role that they make of `role`.
static dure_role read_attributes(tokenizer *state, dure_role role, bool looks) {
  while (state->cursor < state->end) {
    while (state->cursor < state->end && (is_space(*state->cursor) || *state->cursor == '/')) state->cursor++;
    if (state->cursor == state->end) break;
    if (*state->cursor == '>') {
      state->cursor++;
      return role;
    }
    char name[NAME_SIZE];
    const char *start = state->cursor++;  // an equals sign may begin a name
    size_t length = 0;
    while (state->cursor < state->end && !ends_name(*state->cursor)) state->cursor++;
    for (; length < (size_t)(state->cursor - start) && length < NAME_SIZE - 1; length++) {
      name[length] = (char)(start[length] >= 'A' && start[length] <= 'Z' ? start[length] | 0x20 : start[length]);
    }
    name[length] = '\0';
    skip_space(state);
    size_t value_length = 0;
    state->value[0] = '\0';
    if (state->cursor < state->end && *state->cursor == '=') {
      state->cursor++;
      skip_space(state);
      value_length = read_value(state);
    }
    if (is_number(role, name)) state->number = number_of(state->value);
    if (role == DURE_ROLE_SKIP && dure_markup_is_note(name, state->value)) state->is_note = true;
    if (!looks || role == DURE_ROLE_SKIP || !may_be_boilerplate(name[0])) continue;
    if (is_boilerplate(name, length, state->value, value_length)) role = DURE_ROLE_SKIP;
    if (strcmp(name, "role") == 0 && strcasecmp(state->value, "main") == 0) role = DURE_ROLE_MAIN;
  }
  return role;
}

// The content of an element that is not markup, up to its end tag, which is taken too.
static void read_raw(tokenizer *state, const element *raw) {
  size_t length = strlen(raw->name);
  const char *start = state->cursor, *stop = state->end;
  for (const char *tag = start; (tag = memchr(tag, '<', (size_t)(state->end - tag))) != NULL; tag++) {
    size_t left = (size_t)(state->end - tag);
    if (left < length + 2) break;
    if (tag[1] != '/' || strncasecmp(tag + 2, raw->name, length) != 0) continue;
    if (left > length + 2 && !is_space(tag[length + 2]) && tag[length + 2] != '>' && tag[length + 2] != '/') continue;
    stop = tag;
    break;
  }
  text(state, start, (size_t)(stop - start));
  const char *close = stop < state->end ? memchr(stop, '>', (size_t)(state->end - stop)) : NULL;
  state->cursor = close != NULL ? close + 1 : state->end;
}

static void begin_tag(tokenizer *state) {
  char name[NAME_SIZE];
  const element *found = find_element(name, read_name(state, name));
  const element beginning = *found;
  bool looks = !dure_layout_is_skipping(state->layout);
  dure_role role = beginning.role;
  // A page's header is boilerplate, an article's holds its title.
  if (state->articles > 0 && strcmp(beginning.name, "header") == 0) role = DURE_ROLE_LINE;
  state->number = NO_NUMBER;
  state->is_note = false;
  role = read_attributes(state, role, looks && beginning.kind != KIND_ROOT);
  if (state->is_note && looks && strcmp(beginning.name, "aside") == 0) role = DURE_ROLE_BLOCK;
  if (beginning.kind == KIND_ROOT) return;
  close_before(state, beginning.kind);
  looks = !dure_layout_is_skipping(state->layout);
  open_element(state, &beginning, looks ? role : DURE_ROLE_INLINE);
  if (state->is_too_deep) return;
  if (state->number != NO_NUMBER) dure_layout_number(state->layout, (uint32_t)state->number);
  if (beginning.kind == KIND_EMPTY) {
    close_to(state, state->depth - 1);
  } else if (beginning.kind == KIND_RAW) {
    read_raw(state, &beginning);
    close_to(state, state->depth - 1);
  } else if (beginning.kind == KIND_PLAINTEXT) {
    text(state, state->cursor, (size_t)(state->end - state->cursor));
    state->cursor = state->end;
  }
}

static void end_tag(tokenizer *state) {
  char name[NAME_SIZE];
  const element *found = find_element(name, read_name(state, name));
  const element ending = *found;
  read_attributes(state, DURE_ROLE_INLINE, false);
  if (ending.kind == KIND_ROOT) return;
  if (ending.kind == KIND_EMPTY) {
    if (strcmp(ending.name, "br") != 0) return;  // </br> is read as <br>
    open_element(state, &ending, DURE_ROLE_BREAK);
    if (!state->is_too_deep) close_to(state, state->depth - 1);
    return;
  }
  end_element(state, &ending);
}

// <!-- -->, <!DOCTYPE>, <![CDATA[ ]]>, <? >
static void skip_declaration(tokenizer *state) {
  const char *start = state->cursor;
  size_t left = (size_t)(state->end - start);
  bool is_comment = left >= 4 && memcmp(start, "<!--", 4) == 0;
  if (!is_comment) {
    const char *close = memchr(start, '>', left);
    state->cursor = close != NULL ? close + 1 : state->end;
    return;
  }
  if (left >= 5 && start[4] == '>') {  // <!-->
    state->cursor = start + 5;
    return;
  }
  for (const char *dash = start + 4; (dash = memchr(dash, '-', (size_t)(state->end - dash))) != NULL; dash++) {
    size_t rest = (size_t)(state->end - dash);
    if (rest >= 3 && dash[1] == '-' && (dash[2] == '>' || (rest >= 4 && dash[2] == '!' && dash[3] == '>'))) {
      state->cursor = dash + (dash[2] == '>' ? 3 : 4);
      return;
    }
  }
  state->cursor = state->end;
}

static void read_markup(tokenizer *state) {
  char next = state->end - state->cursor > 1 ? state->cursor[1] : '\0';
  if (is_letter(next)) {
    state->cursor++;
    begin_tag(state);
  } else if (next == '/' && state->end - state->cursor > 2 && is_letter(state->cursor[2])) {
    state->cursor += 2;
    end_tag(state);
  } else if (next == '!' || next == '?' || next == '/') {
    skip_declaration(state);
  } else {
    text(state, "<", 1);
    state->cursor++;
  }
}

dure_status dure_html_read(const char *bytes, size_t size, dure_layout *layout) {
  tokenizer state = {.cursor = bytes, .end = bytes + size, .layout = layout};
  while (state.cursor < state.end && !state.is_too_deep) {
    const char *tag = memchr(state.cursor, '<', (size_t)(state.end - state.cursor));
    const char *stop = tag != NULL ? tag : state.end;
    if (stop > state.cursor) text_with_references(&state, state.cursor, (size_t)(stop - state.cursor));
    state.cursor = stop;
    if (tag != NULL) read_markup(&state);
  }
  bool is_too_deep = state.is_too_deep;
  close_to(&state, 0);
  return is_too_deep ? dure_fail(DURE_CORRUPT, "elements are nested too deeply") : NULL;
}
