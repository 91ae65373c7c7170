#include "data/tokenizer_normalize.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/tokenizer_bytes.h"

dure_status dure_normalizer_add(dure_normalizer *normalizer, dure_normalizer_step step) {
  if (normalizer->step_count < dure_normalizer_step_limit) {
    normalizer->steps[normalizer->step_count++] = step;
    return NULL;
  }
  free(step.content);
  dure_pattern_destroy(step.pattern);
  dure_charsmap_free(&step.charsmap);
  return dure_fail(DURE_UNSUPPORTED, "a normalizer of more than %d steps", dure_normalizer_step_limit);
}

void dure_normalizer_free(dure_normalizer *normalizer) {
  for (size_t i = 0; i < normalizer->step_count; i++) {
    free(normalizer->steps[i].content);
    dure_pattern_destroy(normalizer->steps[i].pattern);
    dure_charsmap_free(&normalizer->steps[i].charsmap);
  }
  normalizer->step_count = 0;
}

void dure_normalize_scratch_free(dure_normalize_scratch *scratch) {
  dure_aligned_free(&scratch->texts[0]);
  dure_aligned_free(&scratch->texts[1]);
  dure_matcher_destroy(scratch->matcher);
  *scratch = (dure_normalize_scratch){0};
}

// ---- normal forms ----

static bool is_ascii(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if ((uint8_t)text[i] >= 0x80) return false;
  }
  return true;
}

static bool is_within(uint32_t c, uint32_t first, uint32_t last) { return c >= first && c <= last; }

// Common characters that the form leaves alone and that never combine with the one before them. They may combine with
// what follows (a mark, a Jamo).
static bool is_plain(dure_normalizer_kind form, uint32_t c) {
  // U+11A7 stands one before the final consonants. It composes with nothing, but utf8proc 2.8 drops it after a
  // syllable.
  if (c < 0x80 || is_within(c, 0x4E00, 0x9FFF) || c == 0x11A7) return true;
  if (form == DURE_NORMALIZER_NFD || form == DURE_NORMALIZER_NFKD) return false;
  bool is_both = is_within(c, 0xAC00, 0xD7A3) || is_within(c, 0x3041, 0x3096) || is_within(c, 0x30A1, 0x30FA) ||
                 is_within(c, 0x2018, 0x201F) || c == 0x3001 || c == 0x3002;
  return is_both || (form == DURE_NORMALIZER_NFC && (c < 0x300 || is_within(c, 0x2010, 0x2027)));
}

// False for what may combine with, or be reordered against, the character before it: marks, Jamo of vowels and final
// consonants (their compatibility forms too), and the few other characters that are the second of a composition.
static bool begins_segment(uint32_t c) {
  static const uint32_t seconds[] = {0x09BE,  0x09D7,  0x0B3E,  0x0B56,  0x0B57,  0x0BBE,  0x0BD7,
                                     0x0CC2,  0x0CD5,  0x0CD6,  0x0D3E,  0x0D57,  0x0DCF,  0x0DDF,
                                     0x0F73,  0x0F75,  0x0F81,  0x102E,  0x1B35,  0x110BA, 0x11127,
                                     0x1133E, 0x11357, 0x114B0, 0x114BA, 0x114BD, 0x115AF, 0x11930};
  if (c < 0x300) return true;
  if (is_within(c, 0x1160, 0x11FF) || is_within(c, 0x3131, 0x318E) || is_within(c, 0xFF9E, 0xFFDC)) return false;
  for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
    if (seconds[i] == c) return false;
  }
  return utf8proc_get_property((utf8proc_int32_t)c)->combining_class == 0;
}

static dure_status put_form(dure_aligned *out, dure_normalizer_kind form, const dure_piece *text, size_t start,
                            size_t end) {
  static const utf8proc_option_t options[] = {
      [DURE_NORMALIZER_NFC] = UTF8PROC_COMPOSE,
      [DURE_NORMALIZER_NFD] = UTF8PROC_DECOMPOSE,
      [DURE_NORMALIZER_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
      [DURE_NORMALIZER_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
  };
  utf8proc_uint8_t *normal = NULL;
  utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)text->bytes + start, (utf8proc_ssize_t)(end - start),
                                       &normal, UTF8PROC_STABLE | options[form]);
  bool is_same = size == (utf8proc_ssize_t)(end - start) && memcmp(normal, text->bytes + start, end - start) == 0;
  dure_status status = is_same ? dure_aligned_copy(out, text, start, end - start)
                       : size >= 0
                           ? dure_aligned_put(out, (char *)normal, (size_t)size, dure_piece_span(text, start, end))
                           : dure_fail(size == UTF8PROC_ERROR_NOMEM ? DURE_OUT_OF_MEMORY : DURE_INTERNAL,
                                       "normalizing %zu bytes of text failed: %s", end - start, utf8proc_errmsg(size));
  free(normal);
  return status;
}

// Only around characters that are not plain: from the last place before them where a segment begins to the next one. In
// the text of most languages that is little or nothing, and utf8proc takes ten times as long as all the rest of
// encoding. When offsets are wanted, segments go one by one.
static dure_status apply_form(dure_normalizer_kind form, const dure_piece *text, dure_aligned *out) {
  size_t done = 0, segment = 0;  // all before `done` has been appended; the last plain segment begins at `segment`
  for (size_t at = 0; at < text->length;) {
    uint32_t c;
    size_t size = dure_utf8_character(text->bytes + at, text->length - at, &c);
    if (size == 0 || is_plain(form, c)) {
      segment = size == 0 ? at + 1 : at;  // nothing combines with a byte that is in no character
      at += size == 0 ? 1 : size;
      continue;
    }
    if (begins_segment(c)) segment = at;
    do {
      at += size;
      size = dure_utf8_character(text->bytes + at, text->length - at, &c);
    } while (size > 0 && !is_plain(form, c) && !(out->is_tracking && begins_segment(c)));
    DURE_TRY(dure_aligned_copy(out, text, done, segment - done));
    DURE_TRY(put_form(out, form, text, segment, at));
    done = segment = at;
  }
  return dure_aligned_copy(out, text, done, text->length - done);
}

// ---- character by character ----

static bool is_nmt_removed(uint32_t c) {
  return is_within(c, 0x01, 0x08) || c == 0x0B || is_within(c, 0x0E, 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

static bool is_nmt_space(uint32_t c) {
  return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || is_within(c, 0x200B, 0x200F) ||
         c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

// What becomes of one character: `out_length` bytes in `out_bytes` [4 * 2].
static void change_character(dure_normalizer_kind kind, uint32_t c, char *out_bytes, size_t *out_length) {
  *out_length = 0;
  if (kind == DURE_NORMALIZER_LOWERCASE) {
    *out_length = dure_utf8_write(c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c), out_bytes);
    // The one character whose lower case is two, whatever stands around it.
    if (c == 0x130) *out_length += dure_utf8_write(0x307, out_bytes + *out_length);
  } else if (kind == DURE_NORMALIZER_STRIP_ACCENTS) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    bool is_mark =
        category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
    if (!is_mark) *out_length = dure_utf8_write(c, out_bytes);
  } else if (!is_nmt_removed(c)) {
    *out_length = dure_utf8_write(is_nmt_space(c) ? ' ' : c, out_bytes);
  }
}

static dure_status apply_characters(dure_normalizer_kind kind, const dure_piece *text, dure_aligned *out) {
  for (size_t at = 0; at < text->length;) {
    uint32_t c;
    char changed[8];
    size_t length, size = dure_utf8_character(text->bytes + at, text->length - at, &c);
    if (size == 0) {
      DURE_TRY(dure_aligned_copy(out, text, at, 1));
      at++;
      continue;
    }
    change_character(kind, c, changed, &length);
    DURE_TRY(dure_aligned_put(out, changed, length, dure_piece_span(text, at, at + size)));
    at += size;
  }
  return NULL;
}

// ---- strip, prepend, replace ----

static dure_status apply_strip(const dure_normalizer_step *step, const dure_piece *text, dure_aligned *out) {
  size_t start = 0, end = text->length;
  if (step->strips_left) start = dure_utf8_skip_spaces(text->bytes, text->length, 0);
  if (step->strips_right) end = dure_utf8_skip_spaces_back(text->bytes, start, end);
  return dure_aligned_copy(out, text, start, end - start);
}

static dure_status apply_prepend(const dure_normalizer_step *step, const dure_piece *text, dure_aligned *out) {
  if (text->length == 0) return NULL;
  DURE_TRY(dure_aligned_put(out, step->content, step->content_length, dure_piece_first(text)));
  return dure_aligned_copy(out, text, 0, text->length);
}

static dure_status replace_in_stretch(const dure_normalizer_step *step, dure_matcher *matcher, const dure_piece *text,
                                      dure_aligned *out) {
  size_t done = 0, offset = 0;
  while (offset <= text->length) {
    size_t start, end;
    bool is_found;
    DURE_TRY(dure_pattern_find(step->pattern, matcher, text->bytes, text->length, offset, &is_found, &start, &end));
    if (!is_found) break;
    DURE_TRY(dure_aligned_copy(out, text, done, start - done));
    DURE_TRY(dure_aligned_put(out, step->content, step->content_length, dure_piece_span(text, start, end)));
    done = end;
    offset = end;
    if (end > start) continue;
    size_t size = dure_utf8_character(text->bytes + end, text->length - end, NULL);
    offset += size > 0 ? size : 1;
  }
  return dure_aligned_copy(out, text, done, text->length - done);
}

static dure_status apply_replace(const dure_normalizer_step *step, dure_matcher *matcher, const dure_piece *text,
                                 dure_aligned *out) {
  for (size_t at = 0; at < text->length;) {
    size_t valid = dure_utf8_valid_prefix(text->bytes + at, text->length - at);
    dure_piece stretch = dure_piece_slice(text, at, valid);
    if (valid > 0) DURE_TRY(replace_in_stretch(step, matcher, &stretch, out));
    at += valid;
    size_t invalid = dure_utf8_invalid_prefix(text->bytes + at, text->length - at);
    DURE_TRY(dure_aligned_copy(out, text, at, invalid));
    at += invalid;
  }
  return NULL;
}

// ---- character maps ----

// As `tokenizers` does it: a grapheme cluster below 6 bytes that begins with a string of the map becomes that string's
// replacement as a whole; else each of its characters that begins with one does.
static dure_status map_cluster(const dure_charsmap *map, const dure_piece *text, size_t start, size_t end,
                               dure_aligned *out) {
  const char *replacement;
  size_t length;
  if (end - start < 6 && dure_charsmap_find(map, text->bytes + start, end - start, false, &replacement, &length) > 0)
    return dure_aligned_put(out, replacement, length, dure_piece_span(text, start, end));
  for (size_t at = start; at < end;) {
    size_t size = dure_utf8_character(text->bytes + at, end - at, NULL);
    if (size == 0) size = 1;
    if (dure_charsmap_find(map, text->bytes + at, size, false, &replacement, &length) > 0) {
      DURE_TRY(dure_aligned_put(out, replacement, length, dure_piece_span(text, at, at + size)));
    } else {
      DURE_TRY(dure_aligned_copy(out, text, at, size));
    }
    at += size;
  }
  return NULL;
}

static dure_status apply_charsmap(const dure_charsmap *map, const dure_piece *text, dure_aligned *out) {
  for (size_t start = 0; start < text->length;) {
    uint32_t c, next;
    utf8proc_int32_t state = 0;
    size_t size = dure_utf8_character(text->bytes + start, text->length - start, &c), end = start + size;
    while (size > 0 && (size = dure_utf8_character(text->bytes + end, text->length - end, &next)) > 0 &&
           !utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state)) {
      end += size;
      c = next;
    }
    if (end == start) end++;
    DURE_TRY(map_cluster(map, text, start, end, out));
    start = end;
  }
  return NULL;
}

// ---- all of it ----

static dure_status apply(const dure_normalizer_step *step, dure_normalize_scratch *scratch, const dure_piece *text,
                         dure_aligned *out) {
  switch (step->kind) {
    case DURE_NORMALIZER_NFC:
    case DURE_NORMALIZER_NFD:
    case DURE_NORMALIZER_NFKC:
    case DURE_NORMALIZER_NFKD: return apply_form(step->kind, text, out);
    case DURE_NORMALIZER_LOWERCASE:
    case DURE_NORMALIZER_STRIP_ACCENTS:
    case DURE_NORMALIZER_NMT: return apply_characters(step->kind, text, out);
    case DURE_NORMALIZER_STRIP: return apply_strip(step, text, out);
    case DURE_NORMALIZER_PREPEND: return apply_prepend(step, text, out);
    case DURE_NORMALIZER_REPLACE:
      if (scratch->matcher == NULL) DURE_TRY(dure_matcher_create(&scratch->matcher));
      return apply_replace(step, scratch->matcher, text, out);
    case DURE_NORMALIZER_PRECOMPILED: return apply_charsmap(&step->charsmap, text, out);
  }
  return NULL;
}

static bool changes_nothing(const dure_normalizer_step *step, const dure_piece *text) {
  return step->kind <= DURE_NORMALIZER_NFKD && is_ascii(text->bytes, text->length);
}

dure_status dure_normalize(const dure_normalizer *normalizer, dure_normalize_scratch *scratch, const dure_piece *text,
                           bool is_tracking, dure_piece *out_piece) {
  int next = 0;
  *out_piece = *text;
  for (size_t i = 0; i < normalizer->step_count; i++) {
    const dure_normalizer_step *step = &normalizer->steps[i];
    if (changes_nothing(step, out_piece)) continue;
    dure_aligned *out = &scratch->texts[next];
    dure_aligned_clear(out, is_tracking);
    DURE_TRY(apply(step, scratch, out_piece, out));
    *out_piece = dure_aligned_piece(out, text->origin);
    next = 1 - next;
  }
  return NULL;
}
