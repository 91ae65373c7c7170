#include "data/clean.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "data/decode.h"
#include "data/jsonl.h"
#include "data/markup.h"
#include "data/normalise.h"
#include "data/output.h"

typedef struct cleaning {
  const dure_clean_options *options;
  dure_clean_summary *summary;
  dure_output *output;
  dure_layout *layout;
  dure_bytes decoded, laid_out, text, line;  // kept between documents
} cleaning;

// Whether a failure is about this document alone; then it is counted and forgotten.
static bool is_malformed(dure_status *status, dure_clean_summary *summary) {
  if (dure_status_code(*status) != DURE_CORRUPT) return false;
  dure_status_free(*status);
  *status = NULL;
  summary->malformed++;
  return true;
}

static dure_status normalise_markup(cleaning *state, dure_format format) {
  dure_layout_reset(state->layout);
  dure_bytes_clear(&state->laid_out);
  const char *markup = state->decoded.data;
  size_t size = state->decoded.size;
  DURE_TRY(format == DURE_FORMAT_HTML ? dure_html_read(markup, size, state->layout)
                                      : dure_xml_read(markup, size, state->layout));
  DURE_TRY(dure_layout_finish(state->layout, &state->laid_out));
  // The layout has collapsed what may be collapsed; the rest is preformatted.
  dure_text_normalise(state->laid_out.data, state->laid_out.size, false, &state->text);
  return NULL;
}

static dure_status normalise_line(cleaning *state) {
  json_t *object = NULL;
  const char *text = NULL;
  size_t length = 0;
  DURE_TRY(dure_jsonl_parse(state->decoded.data, state->decoded.size, &object, &text, &length));
  dure_text_normalise(text, length, true, &state->text);
  json_decref(object);
  return NULL;
}

// The document's clean text into state->text.
static dure_status clean_text(cleaning *state, const dure_document *document) {
  // NUL ends a text for libxml2; where it may stand in text, normalising removes it.
  for (size_t i = 0; i < state->decoded.size && document->format != DURE_FORMAT_TEXT; i++) {
    if (state->decoded.data[i] == '\0') state->decoded.data[i] = ' ';
  }
  switch (document->format) {
    case DURE_FORMAT_HTML:
    case DURE_FORMAT_XML: DURE_TRY(normalise_markup(state, document->format)); break;
    case DURE_FORMAT_JSONL: DURE_TRY(normalise_line(state)); break;
    default: dure_text_normalise(state->decoded.data, state->decoded.size, true, &state->text); break;
  }
  return dure_bytes_status(&state->text);
}

static bool is_shorter_than(const dure_bytes *text, uint64_t minimum) {
  uint64_t characters = 0;
  for (size_t i = 0; i < text->size && characters < minimum; i++) {
    if (((unsigned char)text->data[i] & 0xc0) != 0x80) characters++;
  }
  return characters < minimum;
}

static dure_status write_line(cleaning *state, const dure_document *document, dure_language language) {
  dure_bytes *line = &state->line;
  dure_bytes_clear(line);
  dure_bytes_append_text(line, "{\"text\": ");
  dure_jsonl_append_string(line, state->text.data, state->text.size);
  dure_bytes_append_text(line, ", \"source\": ");
  dure_bytes source = {0};  // a path may be any bytes
  dure_utf8_append_repaired(&source, document->path, strlen(document->path));
  char number[32];
  snprintf(number, sizeof(number), ":%" PRIu64, document->line);
  if (document->line > 0) dure_bytes_append_text(&source, number);
  dure_jsonl_append_string(line, source.data, source.size);
  line->is_failed = line->is_failed || source.is_failed;
  dure_bytes_free(&source);
  dure_bytes_append_text(line, ", \"language\": \"");
  dure_bytes_append_text(line, dure_language_name(language));
  dure_bytes_append_text(line, "\"}\n");
  DURE_TRY(dure_bytes_status(line));
  state->summary->written_bytes += line->size;
  return dure_output_write(state->output, line->data, line->size);
}

// Whether the clean text is to be kept; a reason not to is counted.
static bool is_wanted(cleaning *state, dure_language language) {
  const dure_clean_options *options = state->options;
  uint64_t *reason = state->text.size == 0                                        ? &state->summary->empty
                     : is_shorter_than(&state->text, options->minimum_characters) ? &state->summary->too_short
                     : !options->languages[language]                              ? &state->summary->unwanted_language
                                                                                  : NULL;
  if (reason != NULL) (*reason)++;
  return reason == NULL;
}

static dure_status clean_document(void *context, const dure_document *document) {
  cleaning *state = context;
  dure_clean_summary *summary = state->summary;
  dure_bytes_clear(&state->decoded);
  dure_bytes_clear(&state->text);
  dure_decoding decoding = dure_decode(document, state->options->encoding, state->options->repair, &state->decoded);
  DURE_TRY(dure_bytes_status(&state->decoded));
  if (decoding == DURE_DECODED_NOT) {
    summary->invalid_utf8++;
    return NULL;
  }
  if (state->decoded.size == 0) {
    summary->empty++;
    return NULL;
  }
  dure_status status = clean_text(state, document);
  if (is_malformed(&status, summary)) return NULL;
  if (status != NULL) return dure_status_prefix(status, "%s", document->path);
  dure_language language = dure_language_guess(state->text.data, state->text.size);
  if (!is_wanted(state, language)) return NULL;
  summary->kept++;
  summary->repaired += decoding == DURE_DECODED_REPAIRED;
  summary->text_bytes += state->text.size;
  summary->language_documents[language]++;
  summary->language_bytes[language] += state->text.size;
  return write_line(state, document, language);
}

static dure_status clean(cleaning *state, const char *const *inputs, size_t input_count) {
  const dure_clean_options *options = state->options;
  dure_document_reading reading = {
      .format = options->format,
      .size_limit = options->document_limit,
      .excluded = options->output,
      .stage = "cleaning",
      .visit = clean_document,
      .progress = options->progress,
      .context = state,
      .progress_context = options->progress_context,
  };
  DURE_TRY(dure_layout_create(&state->layout));
  DURE_TRY(dure_output_open(options->output, &state->output));
  dure_status status = dure_documents_visit(&reading, inputs, input_count, &state->summary->read);
  return dure_output_close(state->output, status);
}

dure_status dure_clean(const char *const *inputs, size_t input_count, const dure_clean_options *options,
                       dure_clean_summary *out_summary) {
  *out_summary = (dure_clean_summary){0};
  cleaning state = {.options = options, .summary = out_summary};
  dure_status status = clean(&state, inputs, input_count);
  dure_layout_destroy(state.layout);
  dure_bytes_free(&state.decoded);
  dure_bytes_free(&state.laid_out);
  dure_bytes_free(&state.text);
  dure_bytes_free(&state.line);
  return status;
}
