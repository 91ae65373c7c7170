// Files and small tokenizers for the tests of the data room.
#ifndef DURE_TESTS_UNIT_DATA_FILES_H_
#define DURE_TESTS_UNIT_DATA_FILES_H_

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/bpe_train.h"
#include "data/tokenizer.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char test_directory[256];

static inline void make_test_directory(void) {
  const char *base = getenv("TMPDIR");
  snprintf(test_directory, sizeof(test_directory), "%s/dure-data-XXXXXX", base != NULL ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(test_directory));
}

static inline void remove_test_directory(void) { dure_status_free(dure_os_remove_tree(test_directory)); }

// A path in the test's directory; up to eight stay valid.
static inline const char *in_test_directory(const char *name) {
  static char paths[8][512];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof(paths[0]), "%s/%s", test_directory, name);
  return path;
}

static inline const char *write_test_file(const char *name, const void *bytes, size_t size) {
  const char *path = in_test_directory(name);
  require(dure_os_write_file(path, bytes, size));
  return path;
}

static inline const char *write_test_text(const char *name, const char *text) {
  return write_test_file(name, text, strlen(text));
}

// The file's contents, NUL-terminated, to be freed.
static inline char *read_test_file(const char *path, size_t *out_size) {
  char *bytes = NULL;
  size_t size = 0;
  require(dure_os_read_file(path, UINT64_C(1) << 30, &bytes, &size));
  if (out_size != NULL) *out_size = size;
  return bytes;
}

static inline void require_same_files(const char *a, const char *b) {
  size_t a_size = 0, b_size = 0;
  char *a_bytes = read_test_file(a, &a_size), *b_bytes = read_test_file(b, &b_size);
  ck_assert_uint_eq(a_size, b_size);
  ck_assert_mem_eq(a_bytes, b_bytes, a_size);
  free(a_bytes);
  free(b_bytes);
}

static inline dure_status give_no_text(void *context, const char **out_text, size_t *out_length) {
  (void)context;
  *out_text = NULL;
  *out_length = 0;
  return NULL;
}

// A tokenizer.json of 256 bytes and <|endoftext|>, and `extra` unused special tokens to widen the vocabulary.
static inline const char *write_byte_tokenizer(uint32_t extra) {
  const char **specials = calloc(extra + 1, sizeof(*specials));
  char *names = calloc(extra + 1, 24);
  for (uint32_t i = 0; i <= extra; i++) {
    snprintf(names + 24 * i, 24, i == 0 ? "<|endoftext|>" : "<|unused%u|>", i);
    specials[i] = names + 24 * i;
  }
  dure_bpe_train_options options = {
      .vocabulary_size = 257 + extra, .special_tokens = specials, .special_token_count = extra + 1};
  dure_tokenizer *tokenizer = NULL;
  require(dure_tokenizer_train(give_no_text, NULL, &options, &tokenizer));
  const char *path = in_test_directory("tokenizer.json");
  require(dure_tokenizer_save(tokenizer, path));
  dure_tokenizer_close(tokenizer);
  free(names);
  free(specials);
  return path;
}

#endif  // DURE_TESTS_UNIT_DATA_FILES_H_
