// The first stage of cleaning: bytes to normalised text, and hashes of its lines. The second: which lines repeat.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "data/clean_batch.h"
#include "data/decode.h"
#include "data/jsonl.h"
#include "data/licence.h"
#include "data/markup.h"
#include "data/normalise.h"

enum { LONG_LINE = 40, MENU_LINES = 3 };

// ---- one document ----

typedef struct reading {
  const dure_clean_options *options;
  dure_clean_batch *batch;
  dure_clean_scratch *scratch;
  dure_clean_item *item;
} reading;

static dure_status read_markup(const reading *state) {
  dure_clean_scratch *scratch = state->scratch;
  dure_layout_reset(scratch->layout);
  const char *markup = scratch->decoded.data;
  size_t size = scratch->decoded.size;
  DURE_TRY(state->item->format == DURE_FORMAT_HTML ? dure_html_read(markup, size, scratch->layout)
                                                   : dure_xml_read(markup, size, scratch->layout));
  DURE_TRY(dure_layout_finish(scratch->layout, &scratch->laid_out));
  // The layout has collapsed what may be collapsed; the rest is preformatted.
  dure_clean_item *item = state->item;
  dure_bytes *text = &state->batch->text;
  dure_text_normalise(scratch->laid_out.data, scratch->laid_out.size, false, text);
  item->text_size = text->size - item->text;
  item->licence = text->size;
  if (dure_licence_find(markup, size, text)) item->licence_size = text->size - item->licence;
  return NULL;
}

// A string of a JSON object as UTF-8 at the end of the batch's text.
static void keep_string(const json_t *object, const char *name, dure_bytes *text, size_t *out_start, size_t *out_size) {
  const json_t *value = json_object_get(object, name);
  if (!json_is_string(value) || *out_size > 0) return;
  *out_start = text->size;
  *out_size = json_string_length(value);
  dure_bytes_append(text, json_string_value(value), *out_size);
}

static dure_status read_line(const reading *state) {
  dure_clean_item *item = state->item;
  dure_bytes *text = &state->batch->text;
  const char *field = state->options->field != NULL ? state->options->field : "text";
  json_t *object = NULL;
  const char *value = NULL;
  size_t length = 0;
  dure_bytes *repaired = &state->scratch->repaired;
  dure_bytes_clear(repaired);
  const char *line = state->scratch->decoded.data;
  size_t size = state->scratch->decoded.size;
  if (state->options->repair && dure_jsonl_repair_surrogates(line, size, repaired)) {
    item->is_repaired = true;
    line = repaired->data;
    size = repaired->size;
  }
  DURE_TRY(dure_bytes_status(repaired));
  DURE_TRY(dure_jsonl_parse_field(line, size, field, &object, &value, &length));
  dure_text_normalise(value, length, true, text);
  item->text_size = text->size - item->text;
  keep_string(object, "source", text, &item->source, &item->source_size);
  keep_string(object, "url", text, &item->found_url, &item->found_url_size);
  keep_string(object, "licence", text, &item->licence, &item->licence_size);
  keep_string(object, "license", text, &item->licence, &item->licence_size);
  json_decref(object);
  return NULL;
}

static dure_status read_text(const reading *state) {
  dure_clean_scratch *scratch = state->scratch;
  dure_bytes *decoded = &scratch->decoded;
  // NUL ends a text for libxml2; where it may stand in text, normalising removes it.
  bool may_hold_nul = state->item->format == DURE_FORMAT_TEXT || state->item->format == DURE_FORMAT_MARKDOWN;
  for (char *nul = decoded->data; !may_hold_nul && nul != NULL;) {
    nul = memchr(nul, '\0', decoded->size - (size_t)(nul - decoded->data));
    if (nul != NULL) *nul = ' ';
  }
  dure_bytes_append(decoded, "", 1);  // markup is searched up to a NUL
  DURE_TRY(dure_bytes_status(decoded));
  decoded->size--;
  dure_bytes_clear(&scratch->laid_out);
  switch (state->item->format) {
    case DURE_FORMAT_HTML:
    case DURE_FORMAT_XML: DURE_TRY(read_markup(state)); break;
    case DURE_FORMAT_JSONL: DURE_TRY(read_line(state)); break;
    case DURE_FORMAT_MARKDOWN:
      dure_markdown_read(decoded->data, decoded->size, &scratch->laid_out);
      dure_text_normalise(scratch->laid_out.data, scratch->laid_out.size, true, &state->batch->text);
      break;
    default: dure_text_normalise(decoded->data, decoded->size, true, &state->batch->text); break;
  }
  DURE_TRY(dure_bytes_status(&scratch->laid_out));
  return dure_bytes_status(&state->batch->text);
}

static void drop_with_message(const reading *state, dure_drop reason, const char *message) {
  dure_clean_drop(state->item, reason);
  state->item->message = state->batch->strings.size;
  dure_bytes_append(&state->batch->strings, message, strlen(message) + 1);
}

// A failure that is about this document alone becomes its reason.
static dure_status take_malformed(const reading *state, dure_status status) {
  if (dure_status_code(status) != DURE_CORRUPT) {
    return dure_status_prefix(status, "%s", dure_clean_string(state->batch, state->item->path));
  }
  drop_with_message(state, DURE_DROP_MALFORMED, dure_status_message(status));
  dure_status_free(status);
  return NULL;
}

static void hash_lines(dure_clean_batch *batch, dure_clean_item *item) {
  item->first_line = batch->lines.size / sizeof(uint64_t);
  const char *text = batch->text.data + item->text;
  for (size_t i = 0; i < item->text_size;) {
    const char *newline = memchr(text + i, '\n', item->text_size - i);
    size_t end = newline != NULL ? (size_t)(newline - text) : item->text_size;
    if (end > i) {
      uint64_t hash = XXH3_64bits(text + i, end - i);
      dure_bytes_append(&batch->lines, &hash, sizeof(hash));
      item->line_count++;
    }
    i = end + 1;
  }
}

// Pages of a site: whatever has an address, and files of markup.
static bool is_page(const dure_clean_item *item) {
  return item->url != DURE_NO_STRING || item->format == DURE_FORMAT_HTML || item->format == DURE_FORMAT_XML ||
         item->format == DURE_FORMAT_MARKDOWN;
}

static dure_status read_item(const reading *state) {
  dure_clean_batch *batch = state->batch;
  dure_clean_item *item = state->item;
  const dure_document document = {
      .format = item->format,
      .bytes = batch->raw.data != NULL ? batch->raw.data + item->bytes : "",
      .size = item->size,
      .encoding = item->encoding != DURE_NO_STRING ? dure_clean_string(batch, item->encoding) : NULL,
  };
  dure_bytes *decoded = &state->scratch->decoded;
  dure_bytes_clear(decoded);
  char message[DURE_DECODE_MESSAGE];
  dure_decoding decoding = dure_decode(&document, state->options->encoding, state->options->repair, decoded, message);
  DURE_TRY(dure_bytes_status(decoded));
  item->is_repaired = decoding == DURE_DECODED_REPAIRED;
  if (decoding == DURE_DECODED_NOT) drop_with_message(state, DURE_DROP_INVALID_UTF8, message);
  if (decoding != DURE_DECODED_NOT && decoded->size == 0) dure_clean_drop(item, DURE_DROP_EMPTY);
  if (item->reason != DURE_DROP_COUNT) return NULL;
  item->text = batch->text.size;
  dure_status status = read_text(state);
  if (status != NULL) return take_malformed(state, status);
  bool is_measured =
      item->format == DURE_FORMAT_JSONL || item->format == DURE_FORMAT_HTML || item->format == DURE_FORMAT_XML;
  if (!is_measured) item->text_size = batch->text.size - item->text;
  if (item->text_size == 0) dure_clean_drop(item, DURE_DROP_EMPTY);
  const dure_clean_rules *rules = state->options->rules;
  if (rules != NULL && dure_rule_is_on(rules, DURE_RULE_SITE_LINE_PAGES) && is_page(item)) hash_lines(batch, item);
  return NULL;
}

dure_status dure_clean_batch_read(dure_clean_batch *batch, const dure_clean_options *options,
                                  dure_clean_scratch *scratch) {
  reading state = {.options = options, .batch = batch, .scratch = scratch};
  for (size_t i = 0; i < batch->item_count; i++) {
    state.item = &batch->items[i];
    if (state.item->reason == DURE_DROP_COUNT) DURE_TRY(read_item(&state));
  }
  DURE_TRY(dure_bytes_status(&batch->strings));
  return dure_bytes_status(&batch->lines);
}

// ---- lines that their site repeats ----

static uint64_t site_of(const dure_clean_batch *batch, const dure_clean_item *item) {
  const char *url = item->url != DURE_NO_STRING ? dure_clean_string(batch, item->url) : NULL;
  return dure_site_of(url, dure_clean_string(batch, item->path));
}

// Of the lines that repeat, those that say something by their place as well: long ones, and short ones at the edges of
// the page or among others. A short line amid text ("Returns:") may repeat for good reason.
static void keep_likely_marks(const char *text, size_t size, char *marks, size_t count) {
  size_t first_kept = 0, last_kept = count;
  while (first_kept < count && marks[first_kept] != 0) first_kept++;
  while (last_kept > first_kept && marks[last_kept - 1] != 0) last_kept--;
  size_t line = 0, run_start = 0;
  for (size_t i = 0; i < size && line < count;) {
    const char *newline = memchr(text + i, '\n', size - i);
    size_t end = newline != NULL ? (size_t)(newline - text) : size;
    if (end > i) {
      bool is_edge = line < first_kept || line >= last_kept;
      if (marks[line] == 0) {
        run_start = line + 1;
      } else if (!is_edge && end - i < LONG_LINE) {
        size_t run_end = line;
        while (run_end < count && marks[run_end] != 0) run_end++;
        if (run_end - run_start < MENU_LINES) marks[line] = 2;  // for now still part of the run
      }
      line++;
    }
    i = end + 1;
  }
  for (size_t l = 0; l < count; l++) marks[l] = marks[l] == 1;
}

void dure_clean_batch_mark(dure_clean_batch *batch, const dure_clean_options *options, dure_site_table *sites) {
  if (batch->begins_segment) dure_site_table_clear(sites);
  const uint64_t *lines = (const uint64_t *)(const void *)batch->lines.data;
  size_t count = batch->lines.size / sizeof(*lines);
  dure_bytes_clear(&batch->marks);
  dure_bytes_reserve(&batch->marks, count);
  if (count == 0 || batch->marks.is_failed) return;
  memset(batch->marks.data, 0, count);
  batch->marks.size = count;
  for (size_t i = 0; i < batch->item_count; i++) {
    const dure_clean_item *item = &batch->items[i];
    if (item->line_count > 0)
      dure_site_table_add(sites, site_of(batch, item), lines + item->first_line, item->line_count);
  }
  double least_pages = options->rules->threshold[DURE_RULE_SITE_LINE_PAGES];
  double least_share = options->rules->threshold[DURE_RULE_SITE_LINE_SHARE];
  for (size_t i = 0; i < batch->item_count; i++) {
    const dure_clean_item *item = &batch->items[i];
    uint64_t site = item->line_count > 0 ? site_of(batch, item) : 0;
    for (size_t l = item->first_line; l < item->first_line + item->line_count; l++) {
      uint32_t pages = 0, found = dure_site_table_count(sites, site, lines[l], &pages);
      batch->marks.data[l] = (double)found >= least_pages && !((double)found < least_share * (double)pages);
    }
    if (item->line_count > 0) {
      keep_likely_marks(batch->text.data + item->text, item->text_size, batch->marks.data + item->first_line,
                        item->line_count);
    }
  }
}
