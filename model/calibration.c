#include "model/calibration.h"

#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "model/inference_internal.h"
#include "model/packed.h"
#include "runtime/os.h"

enum { MOST_INPUTS = 8 };  // products of a layer with inputs of their own

// The input of one product.
typedef struct product_input {
  dure_role role;
  uint64_t width;
  float *products;     // [width, width]
  dure_tensor output;  // of one window
} product_input;

struct dure_calibration {
  product_input inputs[MOST_INPUTS];
  size_t count;
};

// The embedding or a layer, recorded for one window: tokens or the stream in, the stream out.
typedef struct step {
  dure_program *program;
  dure_executable *executable;
  dure_tensor tokens, positions, x, y;
  dure_calibration *calibration;  // that a layer's products belong to
  bool has_failed;
} step;

typedef struct walk {
  dure_model *model;
  const dure_calibration_options *options;
  const uint32_t *tokens;
  uint64_t count;
  uint32_t context, windows;
  uint64_t window_values;  // T C
  float *stream;           // [windows, T, C]
} walk;

// ---- recording ---------------------------------------------------------------------------------------------------

static product_input *find_input(dure_calibration *calibration, dure_role role) {
  for (size_t i = 0; i < calibration->count; i++) {
    if (calibration->inputs[i].role == role) return &calibration->inputs[i];
  }
  return NULL;
}

// Called for every product as the layer is recorded; matrices that share an input come with it again.
static void watch(void *context, dure_role role, uint32_t layer, dure_tensor x) {
  (void)layer;
  step *s = context;
  dure_program *p = s->program;
  const uint32_t rank = dure_tensor_rank(p, x);
  if (rank == 0 || !dure_packed_takes(role) || find_input(s->calibration, role) != NULL) return;
  if (s->calibration->count == MOST_INPUTS) {
    s->has_failed = true;
    return;
  }
  const uint64_t width = dure_tensor_dimension(p, x, rank - 1), rows = dure_tensor_element_count(p, x) / width;
  const uint64_t shape[2] = {width, width};
  const dure_tensor flat = dure_tensor_reshape(p, x, 2, (const uint64_t[]){rows, width});
  const dure_tensor output = dure_tensor_external(p, "products", DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_OUTPUT);
  // In f32 whatever x is: sums of squares may be beyond f16.
  dure_tensor operands[DURE_MAX_OPERANDS] = {[DURE_MATMUL_A] = flat, [DURE_MATMUL_B] = flat, [DURE_MATMUL_C] = output};
  const dure_op_attributes attributes = {.matmul = {.transpose_a = true}};
  dure_program_call(p, DURE_OP_matmul, operands, &attributes, 0);
  s->calibration->inputs[s->calibration->count++] = (product_input){.role = role, .width = width, .output = output};
}

// `layer` of LAYERS: the embedding instead.
static const uint32_t LAYERS = UINT32_MAX;

static dure_tensor record_stream(const walk *w, step *s, const dure_decoder *decoder, uint32_t layer) {
  dure_program *p = s->program;
  const uint64_t ids[2] = {1, w->context}, shape[3] = {1, w->context, w->model->config.width};
  s->positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, ids, DURE_LIFETIME_INPUT);
  if (layer == LAYERS) {
    s->tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, ids, DURE_LIFETIME_INPUT);
    return dure_decoder_embed(decoder, s->tokens, s->positions);
  }
  s->x = dure_tensor_external(p, "x", DURE_DTYPE_F32, 3, shape, DURE_LIFETIME_INPUT);
  dure_tensor x = s->x;
  if (decoder->dtype != DURE_DTYPE_F32) {
    x = dure_tensor_temporary(p, "x", decoder->dtype, 3, shape);
    dure_tensor cast[DURE_MAX_OPERANDS] = {s->x, x};
    dure_program_call(p, DURE_OP_copy, cast, NULL, 0);
  }
  return dure_decoder_layer(decoder, x, s->positions, layer, NULL);
}

static dure_status record(const walk *w, step *s, uint32_t layer) {
  dure_model *model = w->model;
  const uint64_t shape[3] = {1, w->context, model->config.width};
  s->program = dure_program_create();
  if (s->program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to calibrate");
  dure_decoder decoder;
  DURE_TRY(
      dure_decoder_create(s->program, &model->config, &model->layout, dure_model_dtype(model), w->context, &decoder));
  if (s->calibration != NULL) decoder.watch = watch;
  decoder.watch_context = s;
  const dure_tensor y = record_stream(w, s, &decoder, layer);
  s->y = dure_tensor_external(s->program, "y", DURE_DTYPE_F32, 3, shape, DURE_LIFETIME_OUTPUT);
  dure_tensor copy[DURE_MAX_OPERANDS] = {y, s->y};
  dure_program_call(s->program, DURE_OP_copy, copy, NULL, 0);
  dure_status status = dure_program_check(s->program);
  if (status == NULL && s->has_failed)
    status =
        dure_fail(DURE_UNSUPPORTED, "a layer with more than %d kinds of products cannot be calibrated", MOST_INPUTS);
  if (status == NULL) status = inference_compile(w->model, "calibrate", s->program, decoder.pools, &s->executable);
  dure_decoder_clear(&decoder);
  return status;
}

static dure_status step_create(const walk *w, uint32_t layer, dure_calibration *calibration, step *out_step) {
  *out_step = (step){.calibration = calibration};
  DURE_TRY(record(w, out_step, layer));
  return inference_write_positions(w->model, out_step->executable, out_step->positions, w->context, w->context);
}

static void step_clear(const walk *w, step *s) {
  dure_status_free(dure_stream_wait(w->model->stream, 0));
  dure_executable_destroy(s->executable);
  dure_program_destroy(s->program);
}

// ---- running -----------------------------------------------------------------------------------------------------

static dure_status embed_windows(const walk *w, step *s) {
  const uint64_t whole = w->count / w->context, bytes = w->window_values * sizeof(float);
  for (uint64_t i = 0; i < w->windows; i++) {
    const uint32_t *tokens = w->tokens + i * whole / w->windows * w->context;
    DURE_TRY(dure_executable_write(s->executable, w->model->stream, s->tokens, tokens, w->context * sizeof(*tokens)));
    DURE_TRY(dure_executable_submit(s->executable, w->model->stream));
    DURE_TRY(dure_executable_read(s->executable, w->model->stream, s->y, w->stream + i * w->window_values, bytes));
  }
  return NULL;
}

// Adds a window's products to the layer's; `scratch` holds the largest of them.
static dure_status add_products(const walk *w, const step *s, float *scratch) {
  for (size_t i = 0; i < s->calibration->count; i++) {
    const product_input *input = &s->calibration->inputs[i];
    const uint64_t count = input->width * input->width;
    DURE_TRY(dure_executable_read(s->executable, w->model->stream, input->output, scratch, count * sizeof(float)));
    for (uint64_t k = 0; k < count; k++) input->products[k] += scratch[k];
  }
  return NULL;
}

static dure_status run_windows(const walk *w, const step *s, uint32_t layer, float *scratch) {
  const uint64_t total = (uint64_t)w->model->config.layer_count * w->windows, bytes = w->window_values * sizeof(float);
  for (uint64_t i = 0; i < w->windows; i++) {
    float *values = w->stream + i * w->window_values;
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
    DURE_TRY(dure_executable_write(s->executable, w->model->stream, s->x, values, bytes));
    DURE_TRY(dure_executable_submit(s->executable, w->model->stream));
    DURE_TRY(dure_executable_read(s->executable, w->model->stream, s->y, values, bytes));
    DURE_TRY(add_products(w, s, scratch));
    if (w->options->progress != NULL)
      w->options->progress(w->options->progress_context, (uint64_t)layer * w->windows + i + 1, total);
  }
  return NULL;
}

static void clear_sums(dure_calibration *calibration) {
  for (size_t i = 0; i < calibration->count; i++) free(calibration->inputs[i].products);
  memset(calibration, 0, sizeof(*calibration));
}

static dure_status make_sums(dure_calibration *calibration, float **out_scratch) {
  uint64_t most = 1;
  *out_scratch = NULL;
  for (size_t i = 0; i < calibration->count; i++) {
    product_input *input = &calibration->inputs[i];
    const uint64_t count = input->width * input->width;
    input->products = calloc((size_t)count, sizeof(float));
    if (input->products == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory calibrating");
    most = count > most ? count : most;
  }
  *out_scratch = malloc((size_t)most * sizeof(float));
  return *out_scratch != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory calibrating");
}

static dure_status walk_layer(const walk *w, uint32_t layer) {
  dure_calibration calibration = {0};
  step s;
  float *scratch = NULL;
  dure_status status = step_create(w, layer, &calibration, &s);
  if (status == NULL) status = make_sums(&calibration, &scratch);
  if (status == NULL) status = run_windows(w, &s, layer, scratch);
  free(scratch);
  step_clear(w, &s);
  if (status == NULL) status = w->options->take_layer(w->options->take_context, &calibration, layer);
  clear_sums(&calibration);
  return status;
}

static dure_status walk_layers(const walk *w) {
  step s;
  dure_status status = step_create(w, LAYERS, NULL, &s);
  if (status == NULL) status = embed_windows(w, &s);
  step_clear(w, &s);
  for (uint32_t layer = 0; layer < w->model->config.layer_count && status == NULL; layer++)
    status = walk_layer(w, layer);
  return status;
}

dure_status dure_calibration_run(dure_model *model, const uint32_t *tokens, uint64_t count,
                                 const dure_calibration_options *options) {
  uint32_t context = options->context > 0 ? options->context : 512;
  if (context > model->config.context_length) context = model->config.context_length;
  const uint64_t whole = count / context, most = options->windows > 0 ? options->windows : 16;
  if (whole == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "the text to calibrate with has %llu tokens; at least %u are needed",
                     (unsigned long long)count, context);
  for (uint64_t i = 0; i < count; i++) {
    if (tokens[i] >= model->config.vocabulary_size)
      return dure_fail(DURE_INVALID_ARGUMENT, "token %u is outside the model's vocabulary of %u", tokens[i],
                       model->config.vocabulary_size);
  }
  walk w = {.model = model,
            .options = options,
            .tokens = tokens,
            .count = count,
            .context = context,
            .windows = (uint32_t)(whole < most ? whole : most),
            .window_values = (uint64_t)context * model->config.width};
  w.stream = malloc((size_t)(w.windows * w.window_values) * sizeof(float));
  if (w.stream == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory calibrating");
  dure_status status = walk_layers(&w);
  free(w.stream);
  return status;
}

const float *dure_calibration_products(const dure_calibration *calibration, dure_role role, uint64_t width) {
  for (size_t i = 0; i < calibration->count; i++) {
    const product_input *input = &calibration->inputs[i];
    if (input->role == role && input->width == width) return input->products;
  }
  return NULL;
}
