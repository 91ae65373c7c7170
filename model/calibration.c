#include "model/calibration.h"

#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "model/packed.h"
#include "runtime/os.h"

// The input of one product.
typedef struct product_input {
  dure_role role;
  uint32_t layer;
  uint64_t width;
  float *sums;         // [width, width]
  dure_tensor output;  // in the pass that gathers it
} product_input;

struct dure_calibration {
  product_input *inputs;
  size_t count, capacity;
};

// One pass: inputs [first, end) are gathered.
typedef struct gathering {
  dure_calibration *calibration;
  dure_program *program;
  size_t first, end;
  bool only_counts;
  bool has_failed;
} gathering;

static product_input *find(const dure_calibration *calibration, dure_role role, uint32_t layer) {
  for (size_t i = 0; i < calibration->count; i++) {
    if (calibration->inputs[i].role == role && calibration->inputs[i].layer == layer) return &calibration->inputs[i];
  }
  return NULL;
}

static void add_input(gathering *g, dure_role role, uint32_t layer, uint64_t width) {
  dure_calibration *c = g->calibration;
  if (c->count == c->capacity) {
    const size_t capacity = 2 * c->capacity + 64;
    product_input *inputs = realloc(c->inputs, capacity * sizeof(*inputs));
    if (inputs == NULL) {
      g->has_failed = true;
      return;
    }
    c->inputs = inputs;
    c->capacity = capacity;
  }
  c->inputs[c->count++] = (product_input){.role = role, .layer = layer, .width = width};
}

// Called for every product as the forward pass is recorded; matrices that share an input come with it again.
static void watch(void *context, dure_role role, uint32_t layer, dure_tensor x) {
  gathering *g = context;
  dure_program *p = g->program;
  const uint32_t rank = dure_tensor_rank(p, x);
  if (rank == 0 || !dure_packed_takes(role)) return;
  const uint64_t width = dure_tensor_dimension(p, x, rank - 1);
  product_input *input = find(g->calibration, role, layer);
  if (input == NULL && g->only_counts) add_input(g, role, layer, width);
  if (input == NULL || g->only_counts) return;
  const size_t index = (size_t)(input - g->calibration->inputs);
  if (index < g->first || index >= g->end || input->output.index != 0) return;
  const uint64_t rows = dure_tensor_element_count(p, x) / width, shape[2] = {width, width};
  const dure_tensor flat = dure_tensor_reshape(p, x, 2, (const uint64_t[]){rows, width});
  const dure_tensor product = dure_matmul_with(p, flat, flat, &(dure_matmul_options){.transpose_a = true});
  input->output = dure_tensor_external(p, "products", DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_OUTPUT);
  dure_tensor copy[DURE_MAX_OPERANDS] = {product, input->output};
  dure_program_call(p, DURE_OP_copy, copy, NULL, 0);
}

// ---- a pass ------------------------------------------------------------------------------------------------------

typedef struct pass_inputs {
  dure_tensor tokens, positions;
  dure_executable *executable;
} pass_inputs;

static dure_status compile(dure_model *model, dure_program *p, const dure_tensor *pools, pass_inputs *pass) {
  dure_place *places = calloc(model->layout.pool_count + 1, sizeof(*places));
  if (places == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to calibrate");
  dure_parameter_pools_place(&model->weights, pools, places);
  dure_status status = dure_model_compile(model, p, places, model->layout.pool_count,
                                          &(dure_compile_options){.label = "calibrate"}, &pass->executable);
  free(places);
  return status;
}

// Records the forward pass over one window; compiled unless the inputs are only counted.
static dure_status record(dure_model *model, gathering *g, uint32_t context, pass_inputs *pass) {
  dure_program *p = g->program;
  const uint64_t shape[2] = {1, context}, hidden_shape[3] = {1, context, model->config.embedding_width};
  pass->tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  pass->positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_decoder decoder;
  DURE_TRY(dure_decoder_create(p, &model->config, &model->layout, dure_model_dtype(model), context, &decoder));
  decoder.watch = watch;
  decoder.watch_context = g;
  const dure_tensor hidden = dure_decoder_hidden(&decoder, pass->tokens, pass->positions, NULL);
  dure_tensor copy[DURE_MAX_OPERANDS] = {
      hidden, dure_tensor_external(p, "hidden", DURE_DTYPE_F32, 3, hidden_shape, DURE_LIFETIME_OUTPUT)};
  dure_program_call(p, DURE_OP_copy, copy, NULL, 0);
  dure_status status = dure_program_check(p);
  if (status == NULL && g->has_failed) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to calibrate");
  if (status == NULL && !g->only_counts) status = compile(model, p, decoder.pools, pass);
  dure_decoder_clear(&decoder);
  return status;
}

static dure_status add_products(dure_model *model, const gathering *g, const pass_inputs *pass, float *products) {
  for (size_t i = g->first; i < g->end; i++) {
    product_input *input = &g->calibration->inputs[i];
    const uint64_t count = input->width * input->width;
    DURE_TRY(dure_executable_read(pass->executable, model->stream, input->output, products, count * sizeof(float)));
    for (uint64_t k = 0; k < count; k++) input->sums[k] += products[k];
  }
  return NULL;
}

static dure_status run_windows(dure_model *model, const gathering *g, const pass_inputs *pass, const uint32_t *tokens,
                               uint32_t context, uint32_t windows, const dure_calibration_options *options) {
  uint64_t most = context;
  for (size_t i = g->first; i < g->end; i++) {
    const uint64_t count = g->calibration->inputs[i].width * g->calibration->inputs[i].width;
    most = count > most ? count : most;
  }
  float *products = malloc((size_t)most * sizeof(*products));
  if (products == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory calibrating");
  uint32_t *positions = (uint32_t *)(void *)products;  // before any product comes
  for (uint32_t i = 0; i < context; i++) positions[i] = i;
  const uint64_t size = context * sizeof(uint32_t), total = (uint64_t)windows * g->calibration->count;
  dure_status status = dure_executable_write(pass->executable, model->stream, pass->positions, positions, size);
  for (uint32_t i = 0; i < windows && status == NULL; i++) {
    if (dure_os_interrupted()) status = dure_fail(DURE_CANCELLED, "interrupted");
    if (status == NULL)
      status =
          dure_executable_write(pass->executable, model->stream, pass->tokens, tokens + (uint64_t)i * context, size);
    if (status == NULL) status = dure_executable_submit(pass->executable, model->stream);
    if (status == NULL) status = add_products(model, g, pass, products);
    if (status == NULL && options->progress != NULL)
      options->progress(options->progress_context, g->first * windows + (i + 1) * (g->end - g->first), total);
  }
  free(products);
  return status;
}

static dure_status gather(dure_model *model, gathering *g, const uint32_t *tokens, uint32_t context, uint32_t windows,
                          const dure_calibration_options *options) {
  pass_inputs pass = {0};
  g->program = dure_program_create();
  if (g->program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to calibrate");
  dure_status status = NULL;
  for (size_t i = g->first; i < g->end && status == NULL; i++) {
    product_input *input = &g->calibration->inputs[i];
    input->sums = calloc((size_t)(input->width * input->width), sizeof(float));
    if (input->sums == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to calibrate");
  }
  if (status == NULL) status = record(model, g, context, &pass);
  if (status == NULL && !g->only_counts) status = run_windows(model, g, &pass, tokens, context, windows, options);
  dure_status_free(dure_stream_wait(model->stream, 0));
  dure_executable_destroy(pass.executable);
  dure_program_destroy(g->program);
  return status;
}

static dure_status gather_all(dure_model *model, dure_calibration *calibration, const uint32_t *tokens,
                              uint32_t context, uint32_t windows, const dure_calibration_options *options) {
  const uint64_t budget = options->budget > 0 ? options->budget : UINT64_C(1) << 30;
  gathering counting = {.calibration = calibration, .only_counts = true};
  DURE_TRY(gather(model, &counting, tokens, context, windows, options));
  for (size_t first = 0; first < calibration->count;) {
    uint64_t bytes = 0;
    size_t end = first;
    for (; end < calibration->count; end++) {
      bytes += calibration->inputs[end].width * calibration->inputs[end].width * sizeof(float);
      if (end > first && bytes > budget) break;
    }
    gathering g = {.calibration = calibration, .first = first, .end = end};
    DURE_TRY(gather(model, &g, tokens, context, windows, options));
    first = end;
  }
  return NULL;
}

dure_status dure_calibration_create(dure_model *model, const uint32_t *tokens, uint64_t count,
                                    const dure_calibration_options *options, dure_calibration **out_calibration) {
  *out_calibration = NULL;
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
  dure_calibration *calibration = calloc(1, sizeof(*calibration));
  if (calibration == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to calibrate");
  dure_status status =
      gather_all(model, calibration, tokens, context, (uint32_t)(whole < most ? whole : most), options);
  if (status != NULL) {
    dure_calibration_destroy(calibration);
    return status;
  }
  *out_calibration = calibration;
  return NULL;
}

void dure_calibration_destroy(dure_calibration *calibration) {
  if (calibration == NULL) return;
  for (size_t i = 0; i < calibration->count; i++) free(calibration->inputs[i].sums);
  free(calibration->inputs);
  free(calibration);
}

const float *dure_calibration_products(const dure_calibration *calibration, dure_role role, uint32_t layer,
                                       uint64_t width) {
  const product_input *input = find(calibration, role, layer);
  return input != NULL && input->width == width ? input->sums : NULL;
}
