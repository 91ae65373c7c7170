#include "data/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "data/pretokenize_pattern.h"
#include "data/tokenizer_bytes.h"

typedef struct step {
  pcre2_code *code;  // NULL: the step that adds a prefix space
  bool has_jit;
  bool keep_matches, keep_others;
} step;

enum { step_limit = 16 };

struct dure_pretokenizer {
  step steps[step_limit];
  size_t step_count;
};

struct dure_pretokenize_scratch {
  pcre2_match_data *match;
  pcre2_match_context *context;
  pcre2_jit_stack *jit_stack;
  char *prefixed;  // a piece with a space before it
  size_t prefixed_capacity;
};

// What stays the same while one text is cut.
typedef struct run {
  const dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
  dure_pretoken_sink sink;
  void *context;
  bool is_first_stretch;  // bytes that are not UTF-8 before a stretch: no space is put between them
} run;

dure_status dure_pretokenizer_create(dure_pretokenizer **out_pretokenizer) {
  *out_pretokenizer = calloc(1, sizeof(**out_pretokenizer));
  return *out_pretokenizer != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "no memory for a pre-tokenizer");
}

void dure_pretokenizer_destroy(dure_pretokenizer *pretokenizer) {
  if (pretokenizer == NULL) return;
  for (size_t i = 0; i < pretokenizer->step_count; i++) pcre2_code_free(pretokenizer->steps[i].code);
  free(pretokenizer);
}

static dure_status add_step(dure_pretokenizer *pretokenizer, step added) {
  if (pretokenizer->step_count == step_limit) {
    pcre2_code_free(added.code);
    return dure_fail(DURE_UNSUPPORTED, "a pre-tokenizer of more than %d steps", step_limit);
  }
  pretokenizer->steps[pretokenizer->step_count++] = added;
  return NULL;
}

dure_status dure_pretokenizer_add_pattern(dure_pretokenizer *pretokenizer, const char *pattern, size_t length,
                                          bool is_literal, bool keep_matches, bool keep_others) {
  char *rewritten = NULL;
  size_t rewritten_length = length;
  if (!is_literal) DURE_TRY(dure_pattern_rewrite(pattern, length, &rewritten, &rewritten_length));
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  uint32_t options = is_literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
  pcre2_code *code = pcre2_compile((PCRE2_SPTR)(is_literal ? pattern : rewritten), rewritten_length, options, &error,
                                   &error_offset, NULL);
  free(rewritten);
  if (code == NULL) {
    PCRE2_UCHAR message[160] = "";
    pcre2_get_error_message(error, message, sizeof(message));
    return dure_fail(DURE_UNSUPPORTED, "the regular expression '%.*s' cannot be compiled: %s",
                     (int)(length < 200 ? length : 200), pattern, (const char *)message);
  }
  step added = {code, pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0, keep_matches, keep_others};
  return add_step(pretokenizer, added);
}

dure_status dure_pretokenizer_add_prefix_space(dure_pretokenizer *pretokenizer) {
  for (size_t i = 0; i < pretokenizer->step_count; i++) {
    // There is one buffer for it, and no reason for a second.
    if (pretokenizer->steps[i].code == NULL)
      return dure_fail(DURE_UNSUPPORTED, "a pre-tokenizer with two prefix spaces");
  }
  return add_step(pretokenizer, (step){.keep_matches = true, .keep_others = true});
}

bool dure_pretokenizer_is_lossless(const dure_pretokenizer *pretokenizer) {
  for (size_t i = 0; i < pretokenizer->step_count; i++) {
    const step *s = &pretokenizer->steps[i];
    if (s->code == NULL || !s->keep_matches || !s->keep_others) return false;
  }
  return true;
}

void dure_pretokenize_scratch_destroy(dure_pretokenize_scratch *scratch) {
  if (scratch == NULL) return;
  pcre2_match_data_free(scratch->match);
  pcre2_match_context_free(scratch->context);
  pcre2_jit_stack_free(scratch->jit_stack);
  free(scratch->prefixed);
  free(scratch);
}

dure_status dure_pretokenize_scratch_create(dure_pretokenize_scratch **out_scratch) {
  *out_scratch = NULL;
  dure_pretokenize_scratch *scratch = calloc(1, sizeof(*scratch));
  if (scratch != NULL) {
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    scratch->jit_stack = pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, NULL);
  }
  if (scratch == NULL || scratch->match == NULL || scratch->context == NULL) {
    dure_pretokenize_scratch_destroy(scratch);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory to match regular expressions");
  }
  // Without a JIT (or memory for its stack) the interpreter does the same, slower.
  if (scratch->jit_stack != NULL) pcre2_jit_stack_assign(scratch->context, NULL, scratch->jit_stack);
  *out_scratch = scratch;
  return NULL;
}

// The first match at or after `offset`: 1, 0 for none, or an error of PCRE2 (negative).
static int find_match(const step *s, dure_pretokenize_scratch *scratch, const char *text, size_t length, size_t offset,
                      size_t *out_start, size_t *out_end) {
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (s->has_jit) {
    result = pcre2_jit_match(s->code, (PCRE2_SPTR)text, length, offset, 0, scratch->match, scratch->context);
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result = pcre2_match(s->code, (PCRE2_SPTR)text, length, offset, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match,
                         scratch->context);
  }
  if (result == PCRE2_ERROR_NOMATCH) return 0;
  if (result < 0) return result;
  const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(scratch->match);
  *out_start = bounds[0];
  *out_end = bounds[1];
  return *out_start <= *out_end ? 1 : 0;  // \K in a lookahead can turn them round; rewriting refuses it
}

static dure_status cut(const run *r, size_t step_index, const char *text, size_t length);

static dure_status cut_by_pattern(const run *r, size_t step_index, const char *text, size_t length) {
  const step *s = &r->pretokenizer->steps[step_index];
  bool is_last = step_index + 1 == r->pretokenizer->step_count;
  size_t done = 0, offset = 0;  // before `done` everything has been given out; matching goes on at `offset`
  while (offset < length) {
    size_t start = length, end = length;
    int result = find_match(s, r->scratch, text, length, offset, &start, &end);
    if (result < 0) {
      PCRE2_UCHAR message[160] = "";
      pcre2_get_error_message(result, message, sizeof(message));
      return dure_fail(DURE_UNSUPPORTED, "the pre-tokenizer's regular expression gave up on a text of %zu bytes: %s",
                       length, (const char *)message);
    }
    if (start > done && s->keep_others) DURE_TRY(cut(r, step_index + 1, text + done, start - done));
    if (result == 0) return NULL;
    if (end > start && s->keep_matches) {
      DURE_TRY(is_last ? r->sink(r->context, text + start, end - start)
                       : cut(r, step_index + 1, text + start, end - start));
    }
    done = end;
    offset = end > start ? end : end + dure_utf8_character(text + end, length - end, NULL);
    if (end == start && end == length) return NULL;
  }
  if (done < length && s->keep_others) return cut(r, step_index + 1, text + done, length - done);
  return NULL;
}

static dure_status cut_with_prefix_space(const run *r, size_t step_index, const char *text, size_t length) {
  if (text[0] == ' ' || !r->is_first_stretch) return cut(r, step_index + 1, text, length);
  dure_pretokenize_scratch *scratch = r->scratch;
  if (length + 1 > scratch->prefixed_capacity) {
    char *grown = realloc(scratch->prefixed, length + 1 + length / 2);
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a text of %zu bytes", length);
    scratch->prefixed = grown;
    scratch->prefixed_capacity = length + 1 + length / 2;
  }
  scratch->prefixed[0] = ' ';
  memcpy(scratch->prefixed + 1, text, length);
  return cut(r, step_index + 1, scratch->prefixed, length + 1);
}

static dure_status cut(const run *r, size_t step_index, const char *text, size_t length) {
  if (length == 0) return NULL;
  if (step_index == r->pretokenizer->step_count) return r->sink(r->context, text, length);
  if (r->pretokenizer->steps[step_index].code == NULL) return cut_with_prefix_space(r, step_index, text, length);
  return cut_by_pattern(r, step_index, text, length);
}

dure_status dure_pretokenize(const dure_pretokenizer *pretokenizer, dure_pretokenize_scratch *scratch, const char *text,
                             size_t length, dure_pretoken_sink sink, void *context) {
  run r = {pretokenizer, scratch, sink, context, true};
  for (size_t at = 0; at < length;) {
    size_t valid = dure_utf8_valid_prefix(text + at, length - at);
    DURE_TRY(cut(&r, 0, text + at, valid));
    at += valid;
    size_t invalid = dure_utf8_invalid_prefix(text + at, length - at);
    if (invalid > 0) DURE_TRY(sink(context, text + at, invalid));
    at += invalid;
    r.is_first_stretch = false;
  }
  return NULL;
}
