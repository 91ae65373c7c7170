// A GGUF file as an attacker writes it: every tensor that it lists must be readable, and so must its configuration and
// its tokenizer.
#define _GNU_SOURCE  // memfd_create
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/gguf_family.h"
#include "model/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tensors(const dure_safetensors *file) {
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    float last[64];
    uint64_t count = tensor->count < 64 ? tensor->count : 64;
    dure_status_free(dure_safetensors_read(tensor, tensor->count - count, count, last));
  }
}

static void read_values(const dure_gguf *file) {
  for (size_t i = 0; i < dure_gguf_value_count(file); i++) {
    const dure_gguf_value *value = dure_gguf_value_at(file, i);
    dure_gguf_texts texts = dure_gguf_texts_of(value);
    const char *text;
    size_t length;
    volatile char sink = 0;
    while (dure_gguf_text_next(&texts, &text, &length)) sink = length > 0 ? text[length - 1] : sink;
    double number;
    (void)dure_gguf_number(value, value->count - 1, &number);
  }
  for (size_t i = 0; i < dure_gguf_tensor_count(file); i++) {
    const dure_gguf_tensor *tensor = dure_gguf_tensor_at(file, i);
    float last[300];
    const uint64_t count = tensor->count < 300 ? tensor->count : 300;
    dure_status_free(dure_gguf_read(tensor, tensor->count - count, count, last));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int descriptor = -1;  // one file in memory, written anew each time
  if (descriptor < 0) descriptor = memfd_create("gguf", 0);
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0 || pwrite(descriptor, data, size, 0) != (ssize_t)size) return 0;
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
  dure_gguf *file = NULL;
  dure_status status = dure_gguf_open(path, &file);
  if (status == NULL) {
    read_values(file);
    char *json = NULL, *template = NULL;
    size_t length;
    dure_tokenizer *tokenizer = NULL;
    dure_status_free(dure_gguf_tokenizer(file, &json, &length));
    if (json != NULL) dure_status_free(dure_tokenizer_parse(json, length, &tokenizer));
    dure_status_free(dure_gguf_chat_template(file, &template));
    dure_tokenizer_close(tokenizer);
    free(template);
    free(json);
    dure_safetensors *weights = NULL;
    status = dure_weights_open(path, &weights);
    if (status == NULL) read_tensors(weights);
    dure_safetensors_close(weights);
  }
  dure_gguf_close(file);
  dure_status_free(status);
  return 0;
}
