// What every command that runs a model opens: the device, its stream, the model, and the tokenizer beside it.
#ifndef DURE_CLI_OPEN_MODEL_H_
#define DURE_CLI_OPEN_MODEL_H_

#include "data/tokenizer.h"
#include "model/inference.h"

typedef struct opened_model {
  dure_device *device;
  dure_stream *stream;
  dure_model *model;
  dure_tokenizer *tokenizer;  // NULL when it was not asked for
} opened_model;

// Opens the device named like --device, then the model directory, its weights in the type named like --dtype
// (dure_model_choose_dtype). On failure everything is closed again.
DURE_MUST_CHECK dure_status opened_model_create(const char *device, const char *dtype, const char *directory,
                                                bool with_tokenizer, opened_model *out_opened);
// The same, with what --weights says: "quantised" (or NULL): matrices that a GGUF file has quantised stay so;
// "int8": and what those of 8 bits are multiplied with is rounded to 8 bits too; "expanded": all become --dtype.
// DURE_INVALID_ARGUMENT for other words.
DURE_MUST_CHECK dure_status opened_model_create_as(const char *device, const char *dtype, const char *weights,
                                                   const char *directory, bool with_tokenizer,
                                                   opened_model *out_opened);
void opened_model_close(opened_model *opened);

// A draft model for speculative decoding (model/engine.h), on the model's device and stream, opened as that was.
// DURE_INVALID_ARGUMENT, naming the first token that differs, when its vocabulary is another. Release with
// dure_model_destroy.
DURE_MUST_CHECK dure_status opened_model_draft(const opened_model *opened, const char *dtype, const char *weights,
                                               const char *path, dure_model **out_draft);

// Reads "1 2 3" (from the option, or from a file when `path` is not NULL) into ids below `vocabulary_size`.
DURE_MUST_CHECK dure_status parse_token_ids(const char *text, const char *path, uint32_t vocabulary_size,
                                            dure_ids *out_ids);

#endif  // DURE_CLI_OPEN_MODEL_H_
