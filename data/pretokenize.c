#include "data/pretokenize.h"

#include <stdlib.h>
#include <string.h>

#include "data/pretokenize_match.h"
#include "data/tokenizer_bytes.h"

typedef enum step_kind {
  STEP_PATTERN,
  STEP_PREFIX_SPACE,
  STEP_METASPACE,
  STEP_RUNS,
  STEP_SPELL,
  STEP_SPELL_BACK
} step_kind;

typedef struct step {
  step_kind kind;
  dure_pattern *pattern;
  dure_split split;
  bool is_inverted;
  char mark[4];  // Metaspace's replacement, or the mark of runs
  size_t mark_length;
  dure_prepend prepend;
  bool is_splitting;
} step;

enum { step_limit = 16 };

struct dure_pretokenizer {
  step steps[step_limit];
  size_t step_count;
};

struct dure_pretokenize_scratch {
  dure_matcher *matcher;
  dure_aligned changed[step_limit];  // what the steps that change the text make of a piece
};

// What stays the same while one text is cut.
typedef struct run {
  const dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
  dure_pretoken_sink sink;
  void *context;
  const char *text_start;  // a piece that begins here is the first; NULL when the text goes on from another
  bool is_tracking;
  bool is_first_stretch;  // bytes that are not UTF-8 before a stretch: no space is put between them
} run;

dure_status dure_pretokenizer_create(dure_pretokenizer **out_pretokenizer) {
  *out_pretokenizer = calloc(1, sizeof(**out_pretokenizer));
  return *out_pretokenizer != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "no memory for a pre-tokenizer");
}

void dure_pretokenizer_destroy(dure_pretokenizer *pretokenizer) {
  if (pretokenizer == NULL) return;
  for (size_t i = 0; i < pretokenizer->step_count; i++) dure_pattern_destroy(pretokenizer->steps[i].pattern);
  free(pretokenizer);
}

static dure_status add_step(dure_pretokenizer *pretokenizer, step added) {
  if (pretokenizer->step_count == step_limit) {
    dure_pattern_destroy(added.pattern);
    return dure_fail(DURE_UNSUPPORTED, "a pre-tokenizer of more than %d steps", step_limit);
  }
  pretokenizer->steps[pretokenizer->step_count++] = added;
  return NULL;
}

dure_status dure_pretokenizer_add_pattern(dure_pretokenizer *pretokenizer, const char *pattern, size_t length,
                                          bool is_literal, dure_split split, bool is_inverted) {
  step added = {.kind = STEP_PATTERN, .split = split, .is_inverted = is_inverted};
  DURE_TRY(dure_pattern_create(pattern, length, is_literal, &added.pattern));
  return add_step(pretokenizer, added);
}

dure_status dure_pretokenizer_add_prefix_space(dure_pretokenizer *pretokenizer) {
  return add_step(pretokenizer, (step){.kind = STEP_PREFIX_SPACE});
}

static dure_status add_marked(dure_pretokenizer *pretokenizer, step added, const char *mark, size_t length) {
  if (length == 0 || dure_utf8_character(mark, length, NULL) != length)
    return dure_fail(DURE_UNSUPPORTED, "a replacement for spaces of %zu bytes; expected one character", length);
  memcpy(added.mark, mark, length);
  added.mark_length = length;
  return add_step(pretokenizer, added);
}

dure_status dure_pretokenizer_add_metaspace(dure_pretokenizer *pretokenizer, const char *replacement, size_t length,
                                            dure_prepend prepend, bool is_splitting) {
  step added = {.kind = STEP_METASPACE, .prepend = prepend, .is_splitting = is_splitting};
  return add_marked(pretokenizer, added, replacement, length);
}

dure_status dure_pretokenizer_add_runs(dure_pretokenizer *pretokenizer, const char *mark, size_t length) {
  return add_marked(pretokenizer, (step){.kind = STEP_RUNS}, mark, length);
}

dure_status dure_pretokenizer_add_spelling(dure_pretokenizer *pretokenizer, bool is_back) {
  return add_step(pretokenizer, (step){.kind = is_back ? STEP_SPELL_BACK : STEP_SPELL});
}

bool dure_pretokenizer_is_lossless(const dure_pretokenizer *pretokenizer) {
  for (size_t i = 0; i < pretokenizer->step_count; i++) {
    const step *s = &pretokenizer->steps[i];
    bool is_cut_only = s->kind == STEP_RUNS || (s->kind == STEP_PATTERN && s->split != DURE_SPLIT_REMOVED);
    if (!is_cut_only) return false;
  }
  return true;
}

bool dure_pretokenizer_is_empty(const dure_pretokenizer *pretokenizer) { return pretokenizer->step_count == 0; }

void dure_pretokenize_scratch_destroy(dure_pretokenize_scratch *scratch) {
  if (scratch == NULL) return;
  dure_matcher_destroy(scratch->matcher);
  for (size_t i = 0; i < step_limit; i++) dure_aligned_free(&scratch->changed[i]);
  free(scratch);
}

dure_status dure_pretokenize_scratch_create(dure_pretokenize_scratch **out_scratch) {
  *out_scratch = NULL;
  dure_pretokenize_scratch *scratch = calloc(1, sizeof(*scratch));
  if (scratch == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a pre-tokenizer");
  dure_status status = dure_matcher_create(&scratch->matcher);
  if (status != NULL) {
    dure_pretokenize_scratch_destroy(scratch);
    return status;
  }
  *out_scratch = scratch;
  return NULL;
}

// ---- cutting ----

static dure_status cut(const run *r, size_t step_index, const dure_piece *piece);

static dure_status pass_on(const run *r, size_t step_index, const dure_piece *piece, size_t start, size_t end) {
  if (start == end) return NULL;
  dure_piece slice = dure_piece_slice(piece, start, end - start);
  if (step_index + 1 == r->pretokenizer->step_count) return r->sink(r->context, &slice);
  return cut(r, step_index + 1, &slice);
}

// The piece that is not passed on yet because the next one may join it.
typedef struct pending_piece {
  size_t start, end;
  bool is_there, after_match;  // `after_match`: the last one taken was a match
} pending_piece;

static dure_status take(const run *r, size_t step_index, const dure_piece *piece, pending_piece *pending, size_t start,
                        size_t end, bool is_match) {
  const step *s = &r->pretokenizer->steps[step_index];
  if (start == end) return NULL;
  if (s->is_inverted) is_match = !is_match;
  if (s->split == DURE_SPLIT_ISOLATED) return pass_on(r, step_index, piece, start, end);
  if (s->split == DURE_SPLIT_REMOVED) return is_match ? NULL : pass_on(r, step_index, piece, start, end);
  bool joins = s->split == DURE_SPLIT_WITH_PREVIOUS ? is_match && !pending->after_match
               : s->split == DURE_SPLIT_WITH_NEXT   ? !is_match && pending->after_match
                                                    : is_match == pending->after_match;
  pending_piece before = *pending;
  *pending = (pending_piece){before.is_there && joins ? before.start : start, end, true, is_match};
  return before.is_there && !joins ? pass_on(r, step_index, piece, before.start, before.end) : NULL;
}

static dure_status cut_by_pattern(const run *r, size_t step_index, const dure_piece *piece) {
  const step *s = &r->pretokenizer->steps[step_index];
  size_t length = piece->length, done = 0, offset = 0;
  pending_piece pending = {0};
  while (offset < length) {
    size_t start, end;
    bool is_found;
    DURE_TRY(dure_pattern_find(s->pattern, r->scratch->matcher, piece->bytes, length, offset, &is_found, &start, &end));
    if (!is_found) break;
    DURE_TRY(take(r, step_index, piece, &pending, done, start, false));
    DURE_TRY(take(r, step_index, piece, &pending, start, end, true));
    done = end;
    offset = end > start ? end : end + dure_utf8_character(piece->bytes + end, length - end, NULL);
    if (end == start && end == length) break;
  }
  DURE_TRY(take(r, step_index, piece, &pending, done, length, false));
  return pending.is_there ? pass_on(r, step_index, piece, pending.start, pending.end) : NULL;
}

static dure_status cut_with_prefix_space(const run *r, size_t step_index, const dure_piece *piece) {
  if (piece->bytes[0] == ' ' || !r->is_first_stretch) return pass_on(r, step_index, piece, 0, piece->length);
  dure_aligned *changed = &r->scratch->changed[step_index];
  dure_aligned_clear(changed, r->is_tracking);
  DURE_TRY(dure_aligned_put(changed, " ", 1, dure_piece_first(piece)));
  DURE_TRY(dure_aligned_copy(changed, piece, 0, piece->length));
  dure_piece prefixed = dure_aligned_piece(changed, piece->origin);
  return pass_on(r, step_index, &prefixed, 0, prefixed.length);
}

static bool begins_with(const step *s, const char *bytes, size_t length) {
  return length >= s->mark_length && memcmp(bytes, s->mark, s->mark_length) == 0;
}

static dure_status cut_by_metaspace(const run *r, size_t step_index, const dure_piece *piece) {
  const step *s = &r->pretokenizer->steps[step_index];
  dure_aligned *changed = &r->scratch->changed[step_index];
  dure_aligned_clear(changed, r->is_tracking);
  bool is_marked = piece->bytes[0] == ' ' || begins_with(s, piece->bytes, piece->length);
  bool is_prepending =
      s->prepend == DURE_PREPEND_ALWAYS || (s->prepend == DURE_PREPEND_FIRST && piece->bytes == r->text_start);
  if (is_prepending && !is_marked)
    DURE_TRY(dure_aligned_put(changed, s->mark, s->mark_length, dure_piece_first(piece)));
  for (size_t at = 0; at < piece->length;) {
    const char *space = memchr(piece->bytes + at, ' ', piece->length - at);
    size_t end = space != NULL ? (size_t)(space - piece->bytes) : piece->length;
    DURE_TRY(dure_aligned_copy(changed, piece, at, end - at));
    if (end < piece->length)
      DURE_TRY(dure_aligned_put(changed, s->mark, s->mark_length, dure_piece_span(piece, end, end + 1)));
    at = end + 1;
  }
  dure_piece marked = dure_aligned_piece(changed, piece->origin);
  if (!s->is_splitting) return pass_on(r, step_index, &marked, 0, marked.length);
  size_t start = 0;
  for (size_t at = 0; at < marked.length; at++) {
    if (at == start || !begins_with(s, marked.bytes + at, marked.length - at)) continue;
    DURE_TRY(pass_on(r, step_index, &marked, start, at));
    start = at;
  }
  return pass_on(r, step_index, &marked, start, marked.length);
}

static dure_status cut_before_runs(const run *r, size_t step_index, const dure_piece *piece) {
  const step *s = &r->pretokenizer->steps[step_index];
  size_t start = 0, run_end = 0;  // the last run of marks ended at `run_end`
  for (size_t at = 0; at < piece->length;) {
    const char *next = memchr(piece->bytes + at, s->mark[0], piece->length - at);
    if (next == NULL) break;
    at = (size_t)(next - piece->bytes);
    if (!begins_with(s, next, piece->length - at)) {
      at++;
      continue;
    }
    if (at > run_end) {
      DURE_TRY(pass_on(r, step_index, piece, start, at));
      start = at;
    }
    at += s->mark_length;
    run_end = at;
  }
  return pass_on(r, step_index, piece, start, piece->length);
}

static dure_status spell(const run *r, size_t step_index, const dure_piece *piece) {
  bool is_back = r->pretokenizer->steps[step_index].kind == STEP_SPELL_BACK;
  dure_aligned *changed = &r->scratch->changed[step_index];
  dure_aligned_clear(changed, r->is_tracking);
  for (size_t at = 0; at < piece->length;) {
    uint32_t c = (uint8_t)piece->bytes[at];
    size_t size = is_back ? dure_utf8_character(piece->bytes + at, piece->length - at, &c) : 1, length = 1;
    char out[4];
    if (is_back) {
      out[0] = (char)dure_character_to_byte(c);
    } else {
      length = dure_utf8_write(dure_byte_to_character((uint8_t)c), out);
    }
    DURE_TRY(dure_aligned_put(changed, out, length, dure_piece_span(piece, at, at + size)));
    at += size > 0 ? size : 1;
  }
  dure_piece spelled = dure_aligned_piece(changed, piece->origin);
  return pass_on(r, step_index, &spelled, 0, spelled.length);
}

static dure_status cut(const run *r, size_t step_index, const dure_piece *piece) {
  switch (r->pretokenizer->steps[step_index].kind) {
    case STEP_PATTERN: return cut_by_pattern(r, step_index, piece);
    case STEP_PREFIX_SPACE: return cut_with_prefix_space(r, step_index, piece);
    case STEP_METASPACE: return cut_by_metaspace(r, step_index, piece);
    case STEP_RUNS: return cut_before_runs(r, step_index, piece);
    case STEP_SPELL:
    case STEP_SPELL_BACK: return spell(r, step_index, piece);
  }
  return NULL;
}

dure_status dure_pretokenize(const dure_pretokenizer *pretokenizer, dure_pretokenize_scratch *scratch,
                             const dure_piece *text, bool is_text_start, bool is_tracking, dure_pretoken_sink sink,
                             void *context) {
  run r = {pretokenizer, scratch, sink, context, is_text_start ? text->bytes : NULL, is_tracking, true};
  for (size_t at = 0; at < text->length;) {
    size_t valid = dure_utf8_valid_prefix(text->bytes + at, text->length - at);
    dure_piece piece = dure_piece_slice(text, at, valid);
    if (valid > 0) DURE_TRY(pretokenizer->step_count > 0 ? cut(&r, 0, &piece) : sink(context, &piece));
    at += valid;
    size_t invalid = dure_utf8_invalid_prefix(text->bytes + at, text->length - at);
    piece = dure_piece_slice(text, at, invalid);
    if (invalid > 0) DURE_TRY(sink(context, &piece));
    at += invalid;
    r.is_first_stretch = false;
  }
  return NULL;
}
