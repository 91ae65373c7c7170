// Any model to one GGUF file.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/companions.h"
#include "model/family.h"
#include "model/gguf_family.h"
#include "model/rounded.h"
#include "runtime/log.h"
#include "runtime/os.h"

enum { piece_elements = 1 << 20 };

typedef struct writing {
  const char *in;
  const dure_convert_options *options;
  dure_convert_summary *summary;
  dure_model_config config;
  const dure_gguf_family *family;
  dure_safetensors *weights;
  dure_gguf_writer *writer;
} writing;

// What becomes of a tensor.
typedef struct target {
  const dure_safetensors_tensor *source;
  char name[96];
  dure_gguf_order order;
  const dure_gguf_type *type;
  uint32_t rank;
  uint64_t shape[3];
  uint64_t experts;  // 0: `source` is all of it; else it is the first expert's
} target;

static bool is_head(const dure_gguf_family *family, const dure_model_config *config, const char *gguf_name) {
  (void)family;
  return strcmp(gguf_name, config->tied_head ? "token_embd.weight" : "output.weight") == 0;
}

static const dure_gguf_type *own_type(const dure_safetensors_tensor *tensor) {
  const dure_gguf_type *type = dure_gguf_type_named(tensor->type);
  return type != NULL && dure_gguf_type_can_pack(type) ? type : dure_gguf_type_named("F32");
}

// Vectors stay f32, as does the table of positions: they are small, and other tools expect it.
static const dure_gguf_type *choose_type(const writing *w, const target *t) {
  if (t->source->rank < 2 || t->order == DURE_GGUF_ONE_ROW || strncmp(t->name, "position_embd.", 14) == 0)
    return dure_gguf_type_named("F32");
  const dure_gguf_type *type = w->options->type != NULL ? dure_gguf_type_named(w->options->type) : own_type(t->source);
  // The head decides between tokens: 4 bits are too few for it.
  if (strcmp(type->name, "Q4_0") == 0 && is_head(w->family, &w->config, t->name)) type = dure_gguf_type_named("Q8_0");
  if (t->shape[t->rank - 1] % type->elements == 0) return type;
  w->summary->kept++;
  return dure_gguf_type_named("F16");
}

static dure_status plan_experts(const writing *w, const dure_safetensors_tensor *tensor, uint64_t expert,
                                target *out_target) {
  if (tensor->rank != 2 || expert >= w->config.experts.count || !dure_dtype_is_float(tensor->dtype)) {
    return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' is no matrix of one of the %u experts", w->in, tensor->name,
                     w->config.experts.count);
  }
  out_target->order = DURE_GGUF_EXPERTS;
  out_target->experts = w->config.experts.count;
  out_target->rank = 3;
  out_target->shape[0] = out_target->experts;
  out_target->shape[1] = tensor->shape[0];
  out_target->shape[2] = tensor->shape[1];
  out_target->type = choose_type(w, out_target);
  return NULL;
}

// false: the tensor is one that the model does not need.
static dure_status plan_tensor(const writing *w, const dure_safetensors_tensor *tensor, target *out_target,
                               bool *out_is_needed) {
  const dure_family *family = w->config.family;
  *out_target = (target){.source = tensor};
  uint64_t expert;
  *out_is_needed = !dure_model_config_leaves_out(&w->config, tensor->name);
  if (!*out_is_needed) return NULL;
  if (dure_gguf_name_from_expert(w->family, tensor->name, out_target->name, sizeof(out_target->name), &expert)) {
    *out_is_needed = expert == 0;  // the others are written with the first
    return plan_experts(w, tensor, expert, out_target);
  }
  if (!dure_gguf_name_from_public(w->family, family->optional_prefix, tensor->name, out_target->name,
                                  sizeof(out_target->name), &out_target->order) ||
      tensor->rank == 0 || tensor->rank > 2 || !dure_dtype_is_float(tensor->dtype)) {
    return dure_fail(DURE_UNSUPPORTED, "'%s': tensor '%s' (%s, %u dimensions) has no place in GGUF's \"%s\"", w->in,
                     tensor->name, tensor->type, tensor->rank, w->family->architecture);
  }
  *out_is_needed = !(w->config.tied_head && strcmp(out_target->name, "output.weight") == 0);
  const bool is_turned = out_target->order == DURE_GGUF_TRANSPOSED && tensor->rank == 2;
  for (uint32_t i = 0; i < tensor->rank; i++)
    out_target->shape[i] = tensor->shape[is_turned ? tensor->rank - 1 - i : i];
  out_target->rank = tensor->rank;
  if (out_target->order == DURE_GGUF_ONE_ROW && tensor->rank == 2 && tensor->shape[0] == 1) {
    out_target->rank = 1;
    out_target->shape[0] = tensor->shape[1];
  }
  out_target->type = choose_type(w, out_target);
  return NULL;
}

static dure_status append(const writing *w, const target *t, const float *values, uint64_t count) {
  if (strcmp(t->type->name, "F16") == 0) DURE_TRY(dure_convert_check_f16(t->name, values, count));
  return dure_gguf_writer_append(w->writer, values, count);
}

static dure_status append_straight(const writing *w, const target *t) {
  const uint64_t columns = t->source->rank > 1 ? t->source->shape[1] : 1;
  const uint64_t most = columns < piece_elements ? piece_elements / columns * columns : columns;
  float *piece = malloc((size_t)(most < t->source->count ? most : t->source->count) * sizeof(*piece) + 1);
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", t->name);
  dure_status status = NULL;
  for (uint64_t done = 0; done < t->source->count && status == NULL;) {
    const uint64_t size = t->source->count - done < most ? t->source->count - done : most;
    status = dure_safetensors_read(t->source, done, size, piece);
    for (uint64_t i = 0; i < size && t->order == DURE_GGUF_PLUS_ONE; i++) piece[i] += 1;
    if (status == NULL) status = append(w, t, piece, size);
    done += size;
  }
  free(piece);
  return status;
}

// Rows and columns in another order: the whole tensor at once.
static dure_status append_reordered(const writing *w, const target *t) {
  const uint64_t count = t->source->count, rows = t->source->shape[0], columns = rows > 0 ? count / rows : 0;
  float *values = malloc((size_t)count * sizeof(*values) + 1), *ordered = malloc((size_t)count * sizeof(*ordered) + 1);
  dure_status status = NULL;
  if (values == NULL || ordered == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", t->name);
  if (status == NULL) status = dure_safetensors_read(t->source, 0, count, values);
  for (uint64_t row = 0; row < rows && status == NULL; row++) {
    if (t->order == DURE_GGUF_TRANSPOSED) {
      for (uint64_t i = 0; i < columns; i++) ordered[i * rows + row] = values[row * columns + i];
      continue;
    }
    const uint64_t to = dure_gguf_row(t->order, &w->config, row);
    if (to >= rows) status = dure_fail(DURE_CORRUPT, "'%s': tensor '%s' has too few rows", w->in, t->source->name);
    if (status == NULL) memcpy(ordered + to * columns, values + row * columns, (size_t)columns * sizeof(*ordered));
  }
  if (status == NULL) status = append(w, t, ordered, count);
  free(values);
  free(ordered);
  return status;
}

// One expert's matrix after the other.
static dure_status append_experts(const writing *w, const target *t) {
  for (uint64_t i = 0; i < t->experts; i++) {
    char name[160];
    target one = *t;
    (void)dure_gguf_name_of_expert(w->family, t->name, i, name, sizeof(name));
    one.source = dure_safetensors_find(w->weights, name);
    if (one.source == NULL || one.source->rank != 2 || one.source->shape[0] != t->shape[1] ||
        one.source->shape[1] != t->shape[2])
      return dure_fail(DURE_CORRUPT, "'%s': there is no tensor '%s' of the shape of the other experts'", w->in, name);
    DURE_TRY(append_straight(w, &one));
  }
  return NULL;
}

// What a calibration has made of the matrix, its rows in the file's order.
static dure_status append_rounded(const writing *w, const target *t, const dure_rounded_matrix *matrix) {
  const uint64_t row_bytes = matrix->width * matrix->type.bits / 8, groups = matrix->width / matrix->type.group;
  uint8_t *codes = malloc((size_t)(matrix->rows * row_bytes));
  uint16_t *scales = malloc((size_t)(matrix->rows * groups) * sizeof(*scales));
  dure_status status = NULL;
  if (codes == NULL || scales == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", t->name);
  for (uint64_t row = 0; row < matrix->rows && status == NULL; row++) {
    const uint64_t to = dure_gguf_row(t->order, &w->config, row);
    if (to >= matrix->rows) {
      status = dure_fail(DURE_CORRUPT, "'%s': tensor '%s' has too few rows", w->in, t->source->name);
      break;
    }
    memcpy(codes + to * row_bytes, matrix->codes + row * row_bytes, (size_t)row_bytes);
    memcpy(scales + to * groups, matrix->scales + row * groups, (size_t)groups * sizeof(*scales));
  }
  if (status == NULL) status = dure_gguf_writer_append_codes(w->writer, codes, scales, matrix->rows * matrix->width);
  free(codes);
  free(scales);
  return status;
}

static dure_status append_target(const writing *w, const target *t) {
  const uint64_t parts = t->experts > 0 ? t->experts : 1;
  w->summary->tensors++;
  w->summary->elements += t->source->count * parts;
  w->summary->bytes += t->source->count * parts / t->type->elements * t->type->bytes;
  const dure_rounded_matrix *rounded = dure_rounded_find(w->options->rounded, t->source->name);
  if (rounded != NULL) return append_rounded(w, t, rounded);
  if (t->experts > 0) return append_experts(w, t);
  if (t->order == DURE_GGUF_SAME || t->order == DURE_GGUF_PLUS_ONE || t->order == DURE_GGUF_ONE_ROW)
    return append_straight(w, t);
  return append_reordered(w, t);
}

static dure_status write_tensors(const writing *w, target *targets) {
  size_t count = 0;
  float factors[1024];
  const uint32_t factor_count = dure_gguf_rope_factors(&w->config, NULL);
  if (factor_count > 1024) return dure_fail(DURE_UNSUPPORTED, "'%s': heads of more than 2048 elements", w->in);
  for (size_t i = 0; i < dure_safetensors_count(w->weights); i++) {
    bool is_needed;
    DURE_TRY(plan_tensor(w, dure_safetensors_get(w->weights, i), &targets[count], &is_needed));
    if (!is_needed) continue;
    const target *t = &targets[count++];
    DURE_TRY(dure_gguf_writer_declare(w->writer, t->name, t->type, t->rank, t->shape));
  }
  const uint64_t shape[1] = {factor_count};
  if (factor_count > 0)
    DURE_TRY(dure_gguf_writer_declare(w->writer, "rope_freqs.weight", dure_gguf_type_named("F32"), 1, shape));
  for (size_t i = 0; i < count; i++) {
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
    DURE_TRY(append_target(w, &targets[i]));
  }
  if (factor_count == 0) return NULL;
  (void)dure_gguf_rope_factors(&w->config, factors);
  return dure_gguf_writer_append(w->writer, factors, factor_count);
}

// ---- what is not tensors -----------------------------------------------------------------------------------------

static dure_status read_tokenizer(const char *in, char **out_json, size_t *out_length) {
  *out_json = NULL;
  *out_length = 0;
  if (dure_gguf_is_file(in)) {
    dure_gguf *file = NULL;
    DURE_TRY(dure_gguf_open(in, &file));
    dure_status status = dure_gguf_tokenizer(file, out_json, out_length);
    dure_gguf_close(file);
    return status;
  }
  DURE_TRY(dure_convert_read(in, "tokenizer.json", out_json, out_length));
  return *out_json != NULL ? NULL : dure_fail(DURE_NOT_FOUND, "'%s' has no tokenizer.json", in);
}

static dure_status write_template(const writing *w) {
  dure_companions companions;
  DURE_TRY(dure_companions_read(w->in, &companions));
  const char *text = companions.chat_template;
  if (text != NULL) dure_gguf_writer_text(w->writer, "tokenizer.chat_template", text, strlen(text));
  dure_companions_clear(&companions);
  return NULL;
}

// A model without a tokenizer, or with one that GGUF and Dure do not share, is still a model.
static void write_tokenizer(const writing *w) {
  char *json;
  size_t length;
  dure_status status = read_tokenizer(w->in, &json, &length);
  if (status == NULL) {
    status = dure_gguf_write_tokenizer(w->writer, json, length, w->config.vocabulary_size, w->config.beginning_id,
                                       w->config.end_id);
  }
  if (status != NULL) {
    dure_log(DURE_LOG_WARNING, "without a tokenizer: %s", dure_status_message(status));
    dure_gguf_writer_text(w->writer, "tokenizer.ggml.model", "no_vocab", strlen("no_vocab"));
  }
  dure_status_free(status);
  free(json);
}

// As other tools number the type of most tensors.
static uint32_t file_type(const writing *w) {
  static const struct {
    const char *type;
    uint32_t number;
  } numbers[] = {{"F32", 0}, {"F16", 1}, {"Q4_0", 2}, {"Q8_0", 7}, {"BF16", 32}};
  const dure_gguf_type *type = dure_gguf_type_named(w->options->type != NULL ? w->options->type : "F32");
  for (size_t i = 0; w->options->type == NULL && i < dure_safetensors_count(w->weights); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(w->weights, i);
    if (tensor->rank > 1) type = own_type(tensor);
  }
  for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
    if (strcmp(numbers[i].type, type->name) == 0) return numbers[i].number;
  }
  return 0;
}

// What other tools would take for something else.
static dure_status check_expressible(const dure_model_config *config, const char *in) {
  const bool is_latent = config->latent.key_rank > 0;
  if (strcmp(config->family->model_type, "falcon") == 0 && config->position != DURE_POSITION_ROTARY)
    return dure_fail(DURE_UNSUPPORTED, "'%s': GGUF's \"falcon\" has no ALiBi", in);
  if (is_latent && config->rotary.width > 0 && !config->rotary.is_interleaved)
    return dure_fail(DURE_UNSUPPORTED, "'%s': GGUF's \"deepseek2\" rotates neighbours (\"rope_interleave\")", in);
  if (strcmp(config->family->model_type, "qwen3_moe") == 0 && !config->experts.route.is_normalised)
    return dure_fail(DURE_UNSUPPORTED,
                     "'%s': GGUF's \"qwen3moe\" divides experts' weights by their sum (\"norm_topk_prob\")", in);
  return NULL;
}

static dure_status write_all(writing *w, const char *out) {
  DURE_TRY(dure_model_config_read(w->in, &w->config));
  DURE_TRY(check_expressible(&w->config, w->in));
  w->family = dure_gguf_family_writing(w->config.family->model_type);
  if (w->family == NULL) {
    return dure_fail(DURE_UNSUPPORTED, "'%s': GGUF has no architecture for the model type \"%s\"", w->in,
                     w->config.family->model_type);
  }
  DURE_TRY(dure_weights_open(w->in, &w->weights));
  DURE_TRY(dure_gguf_writer_create(out, &w->writer));
  dure_gguf_write_config(w->writer, w->family, &w->config);
  dure_gguf_writer_u32(w->writer, "general.file_type", file_type(w));
  write_tokenizer(w);
  DURE_TRY(write_template(w));
  target *targets = calloc(dure_safetensors_count(w->weights) + 1, sizeof(*targets));
  if (targets == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory converting '%s'", w->in);
  dure_status status = write_tensors(w, targets);
  free(targets);
  DURE_TRY(status);
  w->summary->files = 1;
  return dure_gguf_writer_finish(w->writer);
}

dure_status dure_convert_to_gguf(const char *in, const char *out, const dure_convert_options *options,
                                 dure_convert_summary *summary) {
  writing w = {.in = in, .options = options, .summary = summary};
  dure_status status = write_all(&w, out);
  dure_gguf_writer_destroy(w.writer);
  dure_safetensors_close(w.weights);
  if (w.config.family != NULL) dure_model_config_clear(&w.config);
  return status;
}
