#include "data/layout.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 512, MENU_RUN = 3, MENU_LINK_PERCENT = 80, NO_BLOCK = -1 };

typedef enum block_kind { BLOCK_TEXT, BLOCK_HEADING, BLOCK_PREFORMATTED } block_kind;

// A stretch of text with line feeds around it; the line feeds themselves are only written at the end.
typedef struct block {
  size_t start, end;   // in layout->text
  uint32_t separator;  // line feeds before it: 1 or 2
  block_kind kind;
  bool is_main, is_dropped;
  size_t text_bytes, link_bytes;  // without markers; the latter inside links
} block;

typedef struct frame {
  dure_role role;
  bool has_child;     // of key and menu sequences
  size_t wide_gaps;   // of an item: layout->wide_gaps once its first block has begun
  uint32_t number;    // of the last item of a numbered list
  int64_t row_block;  // of the row around this one, while this one is open
  bool row_is_broken;
} frame;

struct dure_layout {
  dure_bytes text;
  block *blocks;
  size_t block_count, block_capacity;
  size_t wide_gaps;  // blocks so far that a blank line precedes
  bool is_failed;    // memory ran out

  frame frames[DEPTH_LIMIT];
  size_t depth;
  // How many open elements have these roles.
  uint32_t skips, preformatted, links, mains, headings, running_text, lists, rows;

  bool block_is_open;  // characters continue the last block
  uint32_t separator;  // before the next block
  bool space_is_pending;
  bool marker_is_pending;  // an item has begun and nothing is written in it
  bool cell_is_fresh;      // likewise a cell
  bool joint_is_pending;   // a cell that is not the row's first has begun: " | " comes before its text
  int64_t row_block;       // the block that the open row is written in
  bool row_is_broken;      // a cell had several blocks: the row is laid out as blocks
};

dure_status dure_layout_create(dure_layout **out_layout) {
  *out_layout = calloc(1, sizeof(**out_layout));
  if (*out_layout == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  dure_layout_reset(*out_layout);
  return NULL;
}

void dure_layout_destroy(dure_layout *layout) {
  if (layout == NULL) return;
  dure_bytes_free(&layout->text);
  free(layout->blocks);
  free(layout);
}

void dure_layout_reset(dure_layout *layout) {
  dure_bytes text = layout->text;
  block *blocks = layout->blocks;
  size_t capacity = layout->block_capacity;
  dure_bytes_clear(&text);
  *layout = (dure_layout){.text = text, .blocks = blocks, .block_capacity = capacity, .row_block = NO_BLOCK};
}

// ---- blocks ----

// Ends the open block; the next characters begin another, `separator` line feeds on. Nothing happens while an item's or
// a cell's first text is still to come: its marker stands before it.
static void request_break(dure_layout *layout, uint32_t separator) {
  layout->space_is_pending = false;
  if (layout->marker_is_pending || layout->cell_is_fresh) return;
  layout->block_is_open = false;
  if (separator > layout->separator) layout->separator = separator;
}

static void append_marker(dure_layout *layout) {
  layout->marker_is_pending = false;
  uint32_t indent = layout->lists > 0 ? 2 * (layout->lists - 1) : 0;
  for (uint32_t i = 0; i < indent && i < 16; i++) dure_bytes_append(&layout->text, " ", 1);
  for (size_t i = layout->depth; i-- > 0;) {
    frame *list = &layout->frames[i];
    if (list->role != DURE_ROLE_LIST && list->role != DURE_ROLE_NUMBERED_LIST) continue;
    char marker[16] = "- ";
    if (list->role == DURE_ROLE_NUMBERED_LIST) snprintf(marker, sizeof(marker), "%u. ", list->number);
    dure_bytes_append_text(&layout->text, marker);
    return;
  }
  dure_bytes_append(&layout->text, "- ", 2);
}

static void begin_block(dure_layout *layout) {
  if (layout->block_count == layout->block_capacity) {
    size_t capacity = layout->block_capacity == 0 ? 256 : layout->block_capacity * 2;
    block *blocks = realloc(layout->blocks, capacity * sizeof(*blocks));
    if (blocks == NULL) {
      layout->is_failed = true;
      return;
    }
    layout->blocks = blocks;
    layout->block_capacity = capacity;
  }
  if (layout->rows > 0) {
    layout->row_is_broken = layout->row_block != NO_BLOCK;
    if (!layout->row_is_broken) layout->row_block = (int64_t)layout->block_count;
  }
  size_t start = layout->text.size;
  layout->blocks[layout->block_count++] = (block){
      .start = start,
      .end = start,
      .separator = layout->separator > 0 ? layout->separator : 1,
      .kind = layout->preformatted > 0 ? BLOCK_PREFORMATTED
              : layout->headings > 0   ? BLOCK_HEADING
                                       : BLOCK_TEXT,
      .is_main = layout->mains > 0,
  };
  layout->wide_gaps += layout->separator == 2;
  layout->block_is_open = true;
  layout->separator = 0;
  layout->space_is_pending = false;
  layout->joint_is_pending = false;
  if (layout->marker_is_pending) append_marker(layout);
}

// Appends to the open block, opening one when there is none.
static void append(dure_layout *layout, const char *text, size_t size) {
  if (layout->is_failed) return;
  if (!layout->block_is_open || layout->marker_is_pending) begin_block(layout);
  if (layout->is_failed) return;
  layout->cell_is_fresh = false;
  if (layout->joint_is_pending) {
    dure_bytes_append(&layout->text, " | ", 3);
    layout->joint_is_pending = false;
  } else if (layout->space_is_pending) {
    dure_bytes_append(&layout->text, " ", 1);
  }
  layout->space_is_pending = false;
  dure_bytes_append(&layout->text, text, size);
  block *last = &layout->blocks[layout->block_count - 1];
  last->end = layout->text.size;
  last->text_bytes += size;
  if (layout->links > 0) last->link_bytes += size;
}

// ---- elements ----

static void count_role(dure_layout *layout, dure_role role, uint32_t change) {
  switch (role) {
    case DURE_ROLE_SKIP: layout->skips += change; break;
    case DURE_ROLE_MAIN: layout->mains += change; break;
    case DURE_ROLE_PREFORMATTED: layout->preformatted += change; break;
    case DURE_ROLE_LINK: layout->links += change; break;
    case DURE_ROLE_HEADING:
      layout->headings += change;
      layout->running_text += change;
      break;
    case DURE_ROLE_PARAGRAPH:
    case DURE_ROLE_TERM: layout->running_text += change; break;
    case DURE_ROLE_LIST:
    case DURE_ROLE_NUMBERED_LIST: layout->lists += change; break;
    case DURE_ROLE_ROW: layout->rows += change; break;
    default: break;
  }
}

static void open_item(dure_layout *layout, frame *opened) {
  layout->marker_is_pending = false;  // an outer item that has no text of its own
  layout->cell_is_fresh = false;
  request_break(layout, 1);
  layout->marker_is_pending = true;
  opened->wide_gaps = layout->wide_gaps + (layout->separator == 2);
  for (size_t i = layout->depth; i-- > 0;) {
    if (layout->frames[i].role == DURE_ROLE_LIST) return;
    if (layout->frames[i].role != DURE_ROLE_NUMBERED_LIST) continue;
    layout->frames[i].number++;
    return;
  }
}

// Items stay together, unless this one holds several paragraphs.
static void close_item(dure_layout *layout, const frame *closed) {
  layout->marker_is_pending = false;
  layout->block_is_open = false;
  layout->space_is_pending = false;
  layout->separator = layout->wide_gaps > closed->wide_gaps ? 2 : 1;
}

static void open_row(dure_layout *layout, frame *opened) {
  layout->cell_is_fresh = false;
  layout->joint_is_pending = false;
  request_break(layout, 1);
  opened->row_block = layout->row_block;
  opened->row_is_broken = layout->row_is_broken;
  layout->row_block = NO_BLOCK;
  layout->row_is_broken = false;
}

static void close_row(dure_layout *layout, const frame *closed) {
  layout->cell_is_fresh = false;
  layout->joint_is_pending = false;
  request_break(layout, 1);
  // Text in a row inside a cell breaks the row around it.
  bool has_text = layout->row_block != NO_BLOCK;
  layout->row_is_broken = closed->row_is_broken || has_text;
  if (!has_text || closed->row_block != NO_BLOCK) layout->row_block = closed->row_block;
}

// The next cell goes on in the row's line, if the row is one line so far.
static void open_cell(dure_layout *layout) {
  if (layout->rows == 0) return;
  if (layout->row_is_broken) {
    request_break(layout, 2);
  } else if (layout->row_block != NO_BLOCK) {
    layout->block_is_open = true;
    layout->separator = 0;
    layout->space_is_pending = false;
    layout->joint_is_pending = true;
  }
  layout->cell_is_fresh = true;
}

static uint32_t list_separator(const dure_layout *layout) { return layout->lists > 0 ? 1 : 2; }

// Line breaks before (or after) an element of this role; the same on both sides.
static void break_around(dure_layout *layout, dure_role role) {
  switch (role) {
    case DURE_ROLE_LINE: request_break(layout, 1); break;
    case DURE_ROLE_BLOCK:
    case DURE_ROLE_MAIN:
    case DURE_ROLE_PARAGRAPH:
    case DURE_ROLE_HEADING:
    case DURE_ROLE_PREFORMATTED:
    case DURE_ROLE_DEFINITION:
    case DURE_ROLE_TABLE:
    case DURE_ROLE_RULE: request_break(layout, layout->preformatted > 0 ? 1 : 2); break;
    case DURE_ROLE_LIST:
    case DURE_ROLE_NUMBERED_LIST:
    case DURE_ROLE_DEFINITIONS: request_break(layout, list_separator(layout)); break;
    default: break;
  }
}

static void separate_sequence(dure_layout *layout) {
  if (layout->depth == 0) return;
  frame *parent = &layout->frames[layout->depth - 1];
  if (parent->role != DURE_ROLE_KEYS && parent->role != DURE_ROLE_MENU_PATH) return;
  if (parent->has_child) {
    layout->space_is_pending = false;
    const char *joint = parent->role == DURE_ROLE_KEYS ? "+" : " > ";
    append(layout, joint, strlen(joint));
  }
  parent->has_child = true;
}

// Two in a row end a paragraph, as pages without <p> are written; in lists and tables they are but a line's end.
static void break_line(dure_layout *layout) {
  const bool is_second = !layout->block_is_open && layout->separator > 0 && layout->lists == 0 && layout->rows == 0;
  request_break(layout, is_second ? 2 : 1);
}

bool dure_layout_open(dure_layout *layout, dure_role role) {
  if (layout->depth == DEPTH_LIMIT) return false;
  if (role == DURE_ROLE_CODE) role = layout->running_text > 0 ? DURE_ROLE_INLINE : DURE_ROLE_PREFORMATTED;
  frame opened = {.role = role};
  if (layout->skips == 0) {
    separate_sequence(layout);
    break_around(layout, role);
    if (role == DURE_ROLE_ITEM) open_item(layout, &opened);
    if (role == DURE_ROLE_TERM) request_break(layout, 2);
    if (role == DURE_ROLE_ROW) open_row(layout, &opened);
    if (role == DURE_ROLE_CELL) open_cell(layout);
    if (role == DURE_ROLE_BREAK && layout->preformatted == 0) break_line(layout);
    if (role == DURE_ROLE_BREAK && layout->preformatted > 0) append(layout, "\n", 1);
  }
  count_role(layout, role, 1);
  layout->frames[layout->depth++] = opened;
  return true;
}

void dure_layout_close(dure_layout *layout) {
  if (layout->depth == 0) return;
  const frame closed = layout->frames[--layout->depth];
  count_role(layout, closed.role, (uint32_t)-1);
  if (layout->skips > 0 || closed.role == DURE_ROLE_SKIP) return;
  break_around(layout, closed.role);
  if (closed.role == DURE_ROLE_ITEM) close_item(layout, &closed);
  if (closed.role == DURE_ROLE_TERM) request_break(layout, 1);
  if (closed.role == DURE_ROLE_CELL) layout->cell_is_fresh = false;
  if (closed.role == DURE_ROLE_ROW) close_row(layout, &closed);
}

void dure_layout_number(dure_layout *layout, uint32_t number) {
  if (layout->depth == 0 || layout->skips > 0) return;
  const bool is_item = layout->frames[layout->depth - 1].role == DURE_ROLE_ITEM;
  for (size_t i = layout->depth; i-- > 0;) {
    frame *list = &layout->frames[i];
    if (list->role == DURE_ROLE_LIST) return;
    if (list->role != DURE_ROLE_NUMBERED_LIST) continue;
    list->number = is_item ? number : number - 1;
    return;
  }
}

dure_role dure_layout_role(const dure_layout *layout, size_t above) {
  return above < layout->depth ? layout->frames[layout->depth - 1 - above].role : DURE_ROLE_INLINE;
}

bool dure_layout_is_inside(const dure_layout *layout, dure_role role) {
  for (size_t i = 0; i < layout->depth; i++) {
    if (layout->frames[i].role == role) return true;
  }
  return false;
}

bool dure_layout_is_skipping(const dure_layout *layout) { return layout->skips > 0; }

// ---- characters ----

// Length of the white space at the front of `text`: ASCII's, and the no-break, em, ideographic and other spaces.
static size_t space_length(const unsigned char *text, size_t size) {
  unsigned char lead = text[0];
  if (lead == ' ' || (lead >= '\t' && lead <= '\r')) return 1;
  if (lead == 0xc2) return size >= 2 && text[1] == 0xa0 ? 2 : 0;
  if ((lead != 0xe2 && lead != 0xe3) || size < 3) return 0;
  if (lead == 0xe3) return text[1] == 0x80 && text[2] == 0x80 ? 3 : 0;
  if (text[1] == 0x80 && (text[2] <= 0x8a || text[2] == 0xaf)) return 3;
  return text[1] == 0x81 && text[2] == 0x9f ? 3 : 0;
}

static void append_preformatted(dure_layout *layout, const char *text, size_t size) {
  bool is_first = !layout->block_is_open || layout->marker_is_pending;
  if (is_first && size > 0 && text[0] == '\n') {  // HTML: a line feed right after <pre> is not part of it
    text++;
    size--;
  }
  if (size > 0) append(layout, text, size);
}

void dure_layout_characters(dure_layout *layout, const char *text, size_t size) {
  if (layout->skips > 0) return;
  if (layout->preformatted > 0) {
    append_preformatted(layout, text, size);
    return;
  }
  dure_role inside = dure_layout_role(layout, 0);
  bool is_sequence = inside == DURE_ROLE_KEYS || inside == DURE_ROLE_MENU_PATH;
  const unsigned char *bytes = (const unsigned char *)text;
  for (size_t i = 0; i < size;) {
    size_t space = space_length(bytes + i, size - i);
    if (space > 0) {
      layout->space_is_pending = layout->space_is_pending || (layout->block_is_open && !is_sequence);
      i += space;
      continue;
    }
    size_t start = i;
    while (i < size && space_length(bytes + i, size - i) == 0) i++;
    append(layout, text + start, i - start);
  }
}

// ---- the whole ----

static bool is_menu_like(const block *candidate) {
  return candidate->kind == BLOCK_TEXT && candidate->link_bytes * 100 >= candidate->text_bytes * MENU_LINK_PERCENT;
}

static bool is_blank(const dure_layout *layout, const block *candidate) {
  for (size_t i = candidate->start; i < candidate->end; i++) {
    if (strchr(" \t\r\n", layout->text.data[i]) == NULL) return false;
  }
  return true;
}

static void drop_outside_main(dure_layout *layout) {
  bool has_main = false;
  for (size_t i = 0; i < layout->block_count; i++) has_main = has_main || layout->blocks[i].is_main;
  for (size_t i = 0; i < layout->block_count && has_main; i++) {
    if (!layout->blocks[i].is_main) layout->blocks[i].is_dropped = true;
  }
}

static void drop_menus(dure_layout *layout) {
  for (size_t i = 0; i < layout->block_count;) {
    size_t run = i;
    while (run < layout->block_count && is_menu_like(&layout->blocks[run])) run++;
    bool is_menu = run - i >= MENU_RUN;
    for (; i < run; i++) layout->blocks[i].is_dropped = layout->blocks[i].is_dropped || is_menu;
    if (i < layout->block_count) i++;
  }
}

// A heading goes when all that stood between it and the next heading went, and when it ends the document.
static void drop_empty_headings(dure_layout *layout) {
  const block *next = NULL;  // the next block that stays
  bool is_gap = false;       // something between here and there went
  for (size_t i = layout->block_count; i-- > 0;) {
    block *current = &layout->blocks[i];
    if (current->kind == BLOCK_HEADING && (next == NULL || (is_gap && next->kind == BLOCK_HEADING))) {
      current->is_dropped = true;
    }
    is_gap = current->is_dropped;
    if (!current->is_dropped) next = current;
  }
}

static void drop_repetitions(dure_layout *layout) {
  const block *before = NULL;
  for (size_t i = 0; i < layout->block_count; i++) {
    block *current = &layout->blocks[i];
    if (current->is_dropped) continue;
    size_t size = current->end - current->start;
    if (is_blank(layout, current) ||
        (before != NULL && before->end - before->start == size &&
         memcmp(layout->text.data + before->start, layout->text.data + current->start, size) == 0)) {
      current->is_dropped = true;
    } else {
      before = current;
    }
  }
}

dure_status dure_layout_finish(dure_layout *layout, dure_bytes *out) {
  if (layout->is_failed)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory laying out a document; lower --max-document");
  DURE_TRY(dure_bytes_status(&layout->text));
  drop_outside_main(layout);
  drop_menus(layout);
  drop_empty_headings(layout);
  drop_repetitions(layout);
  size_t start = out->size;
  bool was_dropped = false;
  for (size_t i = 0; i < layout->block_count; i++) {
    const block *current = &layout->blocks[i];
    if (!current->is_dropped) {
      if (out->size > start) dure_bytes_append(out, "\n\n", was_dropped ? 2 : current->separator);
      dure_bytes_append(out, layout->text.data + current->start, current->end - current->start);
    }
    was_dropped = current->is_dropped;
  }
  return dure_bytes_status(out);
}
