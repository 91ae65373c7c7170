// The loss of a model on a text file, as `dure eval` and `dure quantize` measure it.
#ifndef DURE_CLI_TEXT_PERPLEXITY_H_
#define DURE_CLI_TEXT_PERPLEXITY_H_

#include "cli/open_model.h"
#include "model/perplexity.h"

// Appends the ids of a text file; *out_bytes says how long it is. DURE_INVALID_ARGUMENT when it is empty.
DURE_MUST_CHECK dure_status text_tokens(const dure_tokenizer *tokenizer, const char *path, dure_ids *out_ids,
                                        uint64_t *out_bytes);
// The token that the first one of a text is predicted from: end-of-text, or 0 where there is none, one arbitrary choice
// among equals.
uint32_t text_first_input(const dure_tokenizer *tokenizer);
// Shows how far it is: for dure_perplexity_options.
void text_show_progress(void *context, uint64_t done, uint64_t total);
// What a model makes of a text.
typedef struct text_measurement {
  dure_perplexity_result result;
  float *losses;          // [result.tokens], nats; from malloc
  uint64_t weight_bytes;  // on the device
} text_measurement;

// Opens a model, its weights kept as `weights` says (opened_model_create_as), and measures its loss on a text file with
// a bar of progress; closes it again.
DURE_MUST_CHECK dure_status text_perplexity(const char *device, const char *dtype, const char *weights,
                                            const char *model, const char *path, const dure_perplexity_options *options,
                                            text_measurement *out_measurement);

#endif  // DURE_CLI_TEXT_PERPLEXITY_H_
