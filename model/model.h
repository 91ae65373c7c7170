// A model on a device: configuration, layout of its parameters, and the parameters themselves.
//
//   dure_model *model = NULL;
//   DURE_TRY(dure_model_open("some/directory", device, stream, &model));   // weights are uploaded
//   ... dure_session_create(model, ...), dure_scorer_create(model, ...)    // inference.h
//   dure_model_destroy(model);
#ifndef DURE_MODEL_MODEL_H_
#define DURE_MODEL_MODEL_H_

#include "model/companions.h"
#include "model/config.h"
#include "model/parameters.h"
#include "runtime/hal.h"

// How the parameters are kept; all zero: in f32 on the device.
typedef struct dure_model_options {
  dure_dtype dtype;  // of the weights: f32 (or NONE), bf16 or f16
  dure_parameter_home home;
  bool has_master;  // f32 values are kept beside weights of 16 bits
  dure_parameter_home master_home;
  uint32_t shard, shards;  // pools are divided into so many parts (dure_parameter_layout_divide; 0 or 1: they are not),
  bool shards_weights, shards_masters;  // of which only this one is kept
  uint32_t tensor_part, tensor_parts;   // the model's matrices are divided, of which this part is (tensor_parallel.h)
  bool keeps_packed;        // matrices that a GGUF file has quantised stay so (packed.h): for inference alone
  bool loads_later;         // the weights stay in their file until dure_model_load or dure_model_compile
  bool rounds_activations;  // with it: inputs of products with 8-bit matrices become 8-bit integers (dynamic INT8)
} dure_model_options;

typedef struct dure_model {
  dure_model_config config;
  dure_parameter_layout layout;
  dure_parameter_buffers weights;
  dure_parameter_buffers masters;  // f32; of 0 pools when there are none. Weights are these, rounded to nearest even
  dure_companions companions;      // of the model that was opened, written again where it is saved; of a new one none
  dure_device *device;             // borrowed: must outlive the model
  dure_stream *stream;             // borrowed: everything of this model happens on it
  struct dure_safetensors *file;   // that the weights are still to be loaded from; NULL: they have been
  char *path;                      // its
  size_t pools_loaded;             // by dure_model_load_pool,
  uint64_t loading_nanoseconds;    // in this time
} dure_model;

// Opens a Hugging Face model directory, config.json and model.safetensors (or its shards), or a GGUF file.
DURE_MUST_CHECK dure_status dure_model_open(const char *directory, dure_device *device, dure_stream *stream,
                                            dure_model **out_model);
DURE_MUST_CHECK dure_status dure_model_open_as(const char *directory, const dure_model_options *options,
                                               dure_device *device, dure_stream *stream, dure_model **out_model);
// A new model from a config.json (or the directory of one), initialised as in the GPT-2 paper from `seed`.
DURE_MUST_CHECK dure_status dure_model_create(const char *config_or_directory, uint64_t seed, dure_device *device,
                                              dure_stream *stream, dure_model **out_model);
DURE_MUST_CHECK dure_status dure_model_create_as(const char *config_or_directory, uint64_t seed,
                                                 const dure_model_options *options, dure_device *device,
                                                 dure_stream *stream, dure_model **out_model);
// Loads weights that `loads_later` has put off; nothing where they are there.
DURE_MUST_CHECK dure_status dure_model_load(dure_model *model);
// Those of one pool, for who uses the others later: all must follow, each once, in any order.
DURE_MUST_CHECK dure_status dure_model_load_pool(dure_model *model, size_t pool);
// dure_program_compile for a program with the model's parameters, and then dure_model_load: the disk reads while the
// driver compiles kernels.
DURE_MUST_CHECK dure_status dure_model_compile(dure_model *model, const dure_program *program, const dure_place *places,
                                               size_t place_count, const dure_compile_options *options,
                                               dure_executable **out_executable);
void dure_model_destroy(dure_model *model);  // NULL is fine; executables made from it must be gone

// True when `path` is a directory that holds weights, or a GGUF file.
bool dure_model_has_weights(const char *path);

dure_dtype dure_model_dtype(const dure_model *model);  // of weights and activations
// The type in which the weights of a model are stored (that of most elements; quantised ones count as f16); NONE when
// they cannot be read.
dure_dtype dure_model_file_dtype(const char *directory);

// The words that --dtype takes for running a model; NONE for "auto" or NULL. DURE_INVALID_ARGUMENT for others.
DURE_MUST_CHECK dure_status dure_model_parse_dtype(const char *word, dure_dtype *out_dtype);
// The same for another option, which messages name ("--cache-type").
DURE_MUST_CHECK dure_status dure_model_parse_type(const char *option, const char *word, dure_dtype *out_dtype);
// The same for --cache-type, which also takes q8_0: U8, as the engine's options name it.
DURE_MUST_CHECK dure_status dure_model_parse_cache_type(const char *word, dure_dtype *out_dtype);
// What --dtype means for running a model: "f32", "bf16", "f16", or "auto" (or NULL): f32 on a processor's cores, else
// the type of the file. DURE_INVALID_ARGUMENT for other words.
DURE_MUST_CHECK dure_status dure_model_choose_dtype(const char *word, const dure_device *device, const char *directory,
                                                    dure_dtype *out_dtype);

// A checksum of the weights' bits as the device has them; waits. Of all that are here, or only of those parameters of
// which every part of a model has all (tensor_parallel.h).
DURE_MUST_CHECK dure_status dure_model_hash(const dure_model *model, bool undivided_alone, uint64_t *out_hash);

// Writes config.json, generation_config.json and model.safetensors (synced) into a directory that exists: the masters
// where there are some, else the weights in their own type.
DURE_MUST_CHECK dure_status dure_model_save(const dure_model *model, const char *directory);
// The same of a copy of those weights in host memory; asks no device.
DURE_MUST_CHECK dure_status dure_model_save_copy(const dure_model *model, const dure_parameter_buffers *weights,
                                                 const char *directory);
// Without the weights, which others write.
DURE_MUST_CHECK dure_status dure_model_save_description(const dure_model *model, const char *directory);
// Copies tokenizer.json there and writes the tokenizer_config.json that transformers wants beside it. `end_of_text` is
// the text of the end-of-text token, NULL: none.
DURE_MUST_CHECK dure_status dure_model_save_tokenizer(const dure_model *model, const char *tokenizer_path,
                                                      const char *end_of_text, const char *directory);

#endif  // DURE_MODEL_MODEL_H_
