#include "cli/data_semantic.h"

#include <stdlib.h>
#include <string.h>

#include "data/scratch.h"

enum { BATCH = 64, DEFAULT_CONTEXT = 512, TOKEN_BYTES = 16 };

// The beginning of a text that surely holds as many tokens as are looked at, so that a book is not encoded whole.
static size_t beginning(const dure_semantic_text *text, uint32_t context) {
  size_t length = (size_t)context * TOKEN_BYTES;
  if (text->length <= length) return text->length;
  while (length > 0 && ((unsigned char)text->text[length] & 0xc0) == 0x80) length--;
  return length;
}

static dure_status encode(semantic_model *model, const dure_semantic_text *text) {
  const uint32_t context = dure_embedder_context(model->embedder);
  const dure_encode_options options = {.add_special = true};
  const size_t before = model->ids.count;
  DURE_TRY(dure_tokenizer_encode(model->opened.tokenizer, text->text, beginning(text, context), &options, &model->ids));
  if (model->ids.count - before > context) model->ids.count = before + context;
  return NULL;
}

// Texts of which the vocabulary knows nothing get zeros.
static dure_status embed(void *context, const dure_semantic_text *texts, size_t count, float *out_vectors) {
  semantic_model *model = context;
  const size_t width = model->options.width;
  size_t filled = 0;
  model->ids.count = 0;
  for (size_t i = 0; i < count; i++) {
    const size_t before = model->ids.count;
    DURE_TRY(encode(model, &texts[i]));
    if (model->ids.count == before) continue;
    model->texts[filled].count = (uint32_t)(model->ids.count - before);
    model->places[filled++] = i;
  }
  for (size_t i = 0, start = 0; i < filled; start += model->texts[i++].count) {
    model->texts[i].tokens = model->ids.ids + start;
  }
  if (filled > 0) DURE_TRY(dure_embedder_run(model->embedder, model->texts, filled, out_vectors));
  for (size_t i = count, next = filled; i-- > 0;) {
    float *vector = out_vectors + i * width;
    const bool has_tokens = next > 0 && model->places[next - 1] == i;
    if (has_tokens) {
      next--;
      memmove(vector, out_vectors + next * width, width * sizeof(float));
    } else {
      memset(vector, 0, width * sizeof(float));
    }
  }
  return NULL;
}

static dure_status prepare(semantic_model *model, const char *directory, const char *dtype, uint32_t context) {
  const uint32_t longest = model->opened.model->config.context_length;
  if (context == 0) context = longest < DEFAULT_CONTEXT ? longest : DEFAULT_CONTEXT;
  const dure_embedder_options settings = {.pooling = DURE_POOLING_MEAN, .context = context};
  DURE_TRY(dure_embedder_create(model->opened.model, &settings, &model->embedder));
  model->texts = calloc(BATCH, sizeof(*model->texts));
  model->places = calloc(BATCH, sizeof(*model->places));
  if (model->texts == NULL || model->places == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  model->options = (dure_semantic_options){
      .width = dure_embedder_width(model->embedder), .batch = BATCH, .seed = 1, .embed = embed, .context = model};
  const char *const inputs[] = {directory};
  DURE_TRY(dure_inputs_key(inputs, 1, context, &model->options.identity));
  for (const char *letter = dtype; *letter != '\0'; letter++) {
    model->options.identity = model->options.identity * 31 + (unsigned char)*letter;
  }
  return NULL;
}

dure_status semantic_model_open(const char *directory, const char *device, const char *dtype, uint32_t context,
                                semantic_model *out_model) {
  *out_model = (semantic_model){0};
  DURE_TRY(opened_model_create(device, dtype, directory, true, &out_model->opened));
  dure_status status = prepare(out_model, directory, dtype, context);
  if (status != NULL) semantic_model_close(out_model);
  return status;
}

void semantic_model_close(semantic_model *model) {
  if (model->opened.model == NULL) return;
  dure_embedder_destroy(model->embedder);
  free(model->texts);
  free(model->places);
  dure_ids_free(&model->ids);
  opened_model_close(&model->opened);
  *model = (semantic_model){0};
}
