#include "data/pretokenize_pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Unicode's White_Space. PCRE2's own \s has U+180E as well, which stopped being a space in Unicode 6.3.
#define SPACE_MEMBERS "\\p{Z}\\t-\\r\\x{85}"
// PCRE2's own \w lacks marks.
#define WORD_MEMBERS "\\p{L}\\p{M}\\p{N}\\p{Pc}"

typedef struct rewriting {
  const char *in;
  size_t in_length, at;
  char *out;
  size_t out_length;
  bool in_class;
  size_t class_depth;  // of classes within it
} rewriting;

static void put(rewriting *r, const char *text, size_t length) {
  memcpy(r->out + r->out_length, text, length);
  r->out_length += length;
}

static dure_status refuse(const rewriting *r, const char *what) {
  return dure_fail(DURE_UNSUPPORTED, "the regular expression '%.*s' uses %s at byte %zu, which is not supported",
                   (int)(r->in_length < 200 ? r->in_length : 200), r->in, what, r->at);
}

// \s, \S, \w, \W: inside a class the negated ones cannot be spelled out and keep PCRE2's meaning.
static void put_class_escape(rewriting *r, char letter) {
  const char *members = letter == 's' || letter == 'S' ? SPACE_MEMBERS : WORD_MEMBERS;
  bool is_negated = letter == 'S' || letter == 'W';
  if (r->in_class && is_negated) {
    char escape[2] = {'\\', letter};
    put(r, escape, 2);
    return;
  }
  if (!r->in_class) put(r, is_negated ? "[^" : "[", is_negated ? 2 : 1);
  put(r, members, strlen(members));
  if (!r->in_class) put(r, "]", 1);
}

// The escape at r->at; leaves r->at after it.
static dure_status rewrite_escape(rewriting *r) {
  if (r->at + 1 >= r->in_length) return refuse(r, "a backslash at its end");
  char letter = r->in[r->at + 1];
  if (letter != '\0' && strchr("sSwW", letter) != NULL) {
    put_class_escape(r, letter);
    r->at += 2;
    return NULL;
  }
  if (letter != '\0' && strchr("hHRXKyYOg", letter) != NULL) {
    char what[16] = {'t', 'h', 'e', ' ', 'e', 's', 'c', 'a', 'p', 'e', ' ', '\\', letter, '\0'};
    return refuse(r, what);
  }
  if (letter == 'u') {  // \uHHHH
    if (r->at + 6 > r->in_length) return refuse(r, "an unfinished \\u");
    put(r, "\\x{", 3);
    put(r, r->in + r->at + 2, 4);
    put(r, "}", 1);
    r->at += 6;
    return NULL;
  }
  put(r, r->in + r->at, 2);
  r->at += 2;
  if (letter != '\0' && strchr("pPx", letter) != NULL && r->at < r->in_length && r->in[r->at] == '{') {
    const char *end = memchr(r->in + r->at, '}', r->in_length - r->at);
    if (end == NULL) return refuse(r, "a { that is not closed");
    size_t size = (size_t)(end - (r->in + r->at)) + 1;
    put(r, r->in + r->at, size);
    r->at += size;
  }
  return NULL;
}

static dure_status rewrite_in_class(rewriting *r, size_t class_start) {
  char c = r->in[r->at];
  char next = r->at + 1 < r->in_length ? r->in[r->at + 1] : '\0';
  if (c == '&' && next == '&') return refuse(r, "a class intersection (&&)");
  if (c == '[' && next == '^') return refuse(r, "a negated class within a class");
  if (c == '[' && next != ':') {  // its members are members of the whole
    r->class_depth++;
    r->at++;
    return NULL;
  }
  if (c == '[') {  // [:name:]
    const char *end = memchr(r->in + r->at, ']', r->in_length - r->at);
    if (end == NULL) return refuse(r, "a class that is not closed");
    size_t size = (size_t)(end - (r->in + r->at)) + 1;
    put(r, r->in + r->at, size);
    r->at += size;
    return NULL;
  }
  if (c == ']' && r->class_depth > 0) {
    r->class_depth--;
    r->at++;
    return NULL;
  }
  if (c == ']' && r->at > class_start) r->in_class = false;
  put(r, &c, 1);
  r->at++;
  return NULL;
}

// `(?` with flags: Ruby's m is PCRE2's s, and its other flags besides i and x do not exist there.
static dure_status check_group(const rewriting *r) {
  for (size_t i = r->at + 2; i < r->in_length && i < r->at + 10; i++) {
    char c = r->in[i];
    if (c == 'i' || c == 'x' || c == '-') continue;
    if (i > r->at + 2 && (c == ':' || c == ')')) return NULL;
    if (c == 'm' || c == 's' || c == 'a' || c == 'd' || c == 'u')
      return refuse(r, "a group with flags other than i and x");
    return NULL;
  }
  return NULL;
}

dure_status dure_pattern_rewrite(const char *pattern, size_t length, char **out_pattern, size_t *out_length) {
  *out_pattern = NULL;
  *out_length = 0;
  if (length > 65536)
    return dure_fail(DURE_UNSUPPORTED, "a regular expression of %zu bytes; at most 65536 are supported", length);
  // The longest replacement is 2 bytes ("\w") by 24.
  rewriting r = {pattern, length, 0, malloc(length * 12 + 16), 0, false, 0};
  if (r.out == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a regular expression of %zu bytes", length);
  dure_status status = NULL;
  size_t class_start = 0;
  while (status == NULL && r.at < length) {
    char c = pattern[r.at];
    if (c == '\\') {
      status = rewrite_escape(&r);
    } else if (r.in_class) {
      status = rewrite_in_class(&r, class_start);
    } else {
      if (c == '}' && r.at + 1 < length && pattern[r.at + 1] == '+') status = refuse(&r, "a + after an interval");
      if (c == '(' && r.at + 1 < length && pattern[r.at + 1] == '?' && status == NULL) status = check_group(&r);
      put(&r, &c, 1);
      r.at++;
      if (c == '[') {
        r.in_class = true;
        if (r.at < length && pattern[r.at] == '^') put(&r, &pattern[r.at++], 1);
        class_start = r.at;
      }
    }
  }
  if (status != NULL) {
    free(r.out);
    return status;
  }
  *out_pattern = r.out;
  *out_length = r.out_length;
  return NULL;
}
