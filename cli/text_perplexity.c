#include "cli/text_perplexity.h"

#include <stdlib.h>
#include <string.h>

#include "cli/progress.h"
#include "runtime/os.h"

dure_status text_tokens(const dure_tokenizer *tokenizer, const char *path, dure_ids *out_ids, uint64_t *out_bytes) {
  char *text = NULL;
  size_t length = 0;
  *out_bytes = 0;
  DURE_TRY(dure_os_read_file(path, (uint64_t)1 << 32, &text, &length));
  dure_status status = dure_tokenizer_encode(tokenizer, text, length, NULL, out_ids);
  free(text);
  *out_bytes = length;
  if (status == NULL && length == 0) status = dure_fail(DURE_INVALID_ARGUMENT, "'%s' is empty", path);
  return status;
}

uint32_t text_first_input(const dure_tokenizer *tokenizer) {
  uint32_t id = 0;
  return dure_tokenizer_end_of_text(tokenizer, &id) ? id : 0;
}

static dure_status read_ids(void *context, uint64_t first, size_t count, uint32_t *out_ids) {
  const dure_ids *ids = context;
  memcpy(out_ids, ids->ids + first, count * sizeof(*out_ids));
  return NULL;
}

void text_show_progress(void *context, uint64_t done, uint64_t total) {
  (void)context;
  progress_show("%.1f %% of %llu tokens", 100.0 * (double)done / (double)total, (unsigned long long)total);
}

dure_status text_perplexity(const char *device, const char *dtype, const char *weights, const char *model,
                            const char *path, const dure_perplexity_options *options,
                            text_measurement *out_measurement) {
  memset(out_measurement, 0, sizeof(*out_measurement));
  text_measurement *m = out_measurement;
  opened_model opened;
  DURE_TRY(opened_model_create_as(device, dtype, weights, model, true, &opened));
  dure_ids ids = {0};
  uint64_t bytes = 0;
  dure_status status = text_tokens(opened.tokenizer, path, &ids, &bytes);
  if (status == NULL) {
    m->losses = malloc((ids.count + 1) * sizeof(*m->losses));
    if (m->losses == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory measuring '%s'", path);
  }
  dure_perplexity_options settings = *options;
  settings.first_input = text_first_input(opened.tokenizer);
  settings.losses = m->losses;
  settings.progress = text_show_progress;
  if (status == NULL) status = dure_perplexity(opened.model, read_ids, &ids, ids.count, &settings, &m->result);
  progress_clear();
  for (size_t i = 0; i < opened.model->layout.pool_count; i++)
    m->weight_bytes += dure_parameter_pool_bytes(&opened.model->layout.pools[i], &opened.model->weights.storage);
  dure_ids_free(&ids);
  opened_model_close(&opened);
  return status;
}
