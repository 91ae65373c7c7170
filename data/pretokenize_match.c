#include "data/pretokenize_match.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "data/pretokenize_pattern.h"

struct dure_pattern {
  pcre2_code *code;
  bool has_jit;
};

struct dure_matcher {
  pcre2_match_data *match;
  pcre2_match_context *context;
  pcre2_jit_stack *jit_stack;
};

dure_status dure_pattern_create(const char *pattern, size_t length, bool is_literal, dure_pattern **out_pattern) {
  char *rewritten = NULL;
  size_t rewritten_length = length;
  *out_pattern = NULL;
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
  *out_pattern = calloc(1, sizeof(**out_pattern));
  if (*out_pattern == NULL) {
    pcre2_code_free(code);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a regular expression");
  }
  (*out_pattern)->code = code;
  (*out_pattern)->has_jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
  return NULL;
}

void dure_pattern_destroy(dure_pattern *pattern) {
  if (pattern == NULL) return;
  pcre2_code_free(pattern->code);
  free(pattern);
}

void dure_matcher_destroy(dure_matcher *matcher) {
  if (matcher == NULL) return;
  pcre2_match_data_free(matcher->match);
  pcre2_match_context_free(matcher->context);
  pcre2_jit_stack_free(matcher->jit_stack);
  free(matcher);
}

dure_status dure_matcher_create(dure_matcher **out_matcher) {
  *out_matcher = NULL;
  dure_matcher *matcher = calloc(1, sizeof(*matcher));
  if (matcher != NULL) {
    matcher->match = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    matcher->jit_stack = pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, NULL);
  }
  if (matcher == NULL || matcher->match == NULL || matcher->context == NULL) {
    dure_matcher_destroy(matcher);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory to match regular expressions");
  }
  // Without a JIT (or memory for its stack) the interpreter does the same, slower.
  if (matcher->jit_stack != NULL) pcre2_jit_stack_assign(matcher->context, NULL, matcher->jit_stack);
  *out_matcher = matcher;
  return NULL;
}

dure_status dure_pattern_find(const dure_pattern *pattern, dure_matcher *matcher, const char *text, size_t length,
                              size_t offset, bool *out_is_found, size_t *out_start, size_t *out_end) {
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  *out_is_found = false;
  *out_start = *out_end = length;
  if (pattern->has_jit) {
    result = pcre2_jit_match(pattern->code, (PCRE2_SPTR)text, length, offset, 0, matcher->match, matcher->context);
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result = pcre2_match(pattern->code, (PCRE2_SPTR)text, length, offset, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         matcher->match, matcher->context);
  }
  if (result == PCRE2_ERROR_NOMATCH) return NULL;
  if (result < 0) {
    PCRE2_UCHAR message[160] = "";
    pcre2_get_error_message(result, message, sizeof(message));
    return dure_fail(DURE_UNSUPPORTED, "a regular expression of the tokenizer gave up on a text of %zu bytes: %s",
                     length, (const char *)message);
  }
  const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(matcher->match);
  // \K in a lookahead can turn them round; rewriting refuses it.
  *out_is_found = bounds[0] <= bounds[1];
  if (*out_is_found) {
    *out_start = bounds[0];
    *out_end = bounds[1];
  }
  return NULL;
}
