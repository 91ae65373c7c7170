// Programs: a list of op calls recorded by straight-line C that reads like the maths; then differentiated, planned and
// compiled for a device.
//
//   dure_program *p = dure_program_create();
//   dure_tensor x = dure_tensor_external(p, "x", DURE_DTYPE_F32, 2, (uint64_t[]){rows, width}, DURE_LIFETIME_INPUT);
//   dure_tensor y = dure_matmul(p, x, w, bias, false, false);
//   ...
//   DURE_TRY(dure_program_gradient(p, loss, seed, targets, target_count, false));
//   DURE_TRY(dure_program_compile(p, device, places, place_count, &options, &executable));
//   DURE_TRY(dure_executable_submit(executable, stream));
//
// Errors stick: after the first failure every recording function does nothing and returns the absent tensor; the
// failure comes out of dure_program_check, _gradient or _compile. So models are written without a check on every line.
#ifndef DURE_RUNTIME_PROGRAM_H_
#define DURE_RUNTIME_PROGRAM_H_

#include "runtime/hal.h"
#include "runtime/ops.h"

typedef struct dure_program dure_program;
typedef struct dure_executable dure_executable;

// A handle into its program. index 0 is the absent tensor (for optional operands).
typedef struct dure_tensor {
  uint32_t index;
} dure_tensor;
#define DURE_ABSENT ((dure_tensor){0})

typedef enum dure_lifetime {
  DURE_LIFETIME_ACTIVATION,  // planned by compile(): memory is shared by values that are not alive together
  DURE_LIFETIME_INPUT,       // external: written by the host between submissions
  DURE_LIFETIME_OUTPUT,      // external: kept for the host to read
  DURE_LIFETIME_PARAMETER,   // external: outlives the program
  DURE_LIFETIME_GRADIENT,
  DURE_LIFETIME_OPTIMIZER,
  DURE_LIFETIME_CACHE,
  DURE_LIFETIME_COUNT,
} dure_lifetime;

// ---- recording ---------------------------------------------------------------------------------------------------

dure_program *dure_program_create(void);           // NULL when out of memory
void dure_program_destroy(dure_program *program);  // NULL is fine; executables made from it live on
// The first failure, if any; each call makes a new status, the program keeps its own.
DURE_MUST_CHECK dure_status dure_program_check(const dure_program *program);
// Names the part of the model that the following calls belong to ("layer 3 attention"); copied. For messages and
// profiles.
void dure_program_scope(dure_program *program, const char *format, ...) DURE_PRINTF(2, 3);

// Numbers the block of the model (a layer), from 1, that the following calls belong to; 0: none. What a block makes and
// alone reads can be computed again in the backward pass instead of being kept.
void dure_program_block(dure_program *program, uint32_t block);

// A tensor that lives outside the activation arena. compile() takes its place from `places`; without one it allocates
// zero-filled memory owned by the executable. Contiguous.
dure_tensor dure_tensor_external(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                                 const uint64_t *shape, dure_lifetime lifetime);
// An external input whose contents the program brings along: copied now, and put into memory that the executable owns
// by compile(). For tables that belong to a model rather than to its checkpoint. Nothing may write it.
dure_tensor dure_tensor_constant(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                                 const uint64_t *shape, const void *contents);
// A new activation, for use as an explicit output.
dure_tensor dure_tensor_temporary(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                                  const uint64_t *shape);
// Part of `base`'s memory seen with another shape: strides and offset in elements, within the base; the last stride
// is 1.
dure_tensor dure_tensor_view(dure_program *program, dure_tensor base, uint32_t rank, const uint64_t *shape,
                             const uint64_t *stride, uint64_t offset);
// The same contiguous elements under another shape.
dure_tensor dure_tensor_reshape(dure_program *program, dure_tensor base, uint32_t rank, const uint64_t *shape);
// Shape questions about a recorded tensor (0 for absent ones).
uint32_t dure_tensor_rank(const dure_program *program, dure_tensor tensor);
uint64_t dure_tensor_dimension(const dure_program *program, dure_tensor tensor, uint32_t axis);
uint64_t dure_tensor_stride(const dure_program *program, dure_tensor tensor, uint32_t axis);  // elements
uint64_t dure_tensor_element_count(const dure_program *program, dure_tensor tensor);
dure_dtype dure_tensor_dtype(const dure_program *program, dure_tensor tensor);

// Records any op: operands in the table's order; absent outputs are created as activations, given ones are written.
// `accumulate` bit i adds to operand i. `operands` holds the created outputs afterwards.
void dure_program_call(dure_program *program, dure_op op, dure_tensor operands[DURE_MAX_OPERANDS],
                       const dure_op_attributes *attributes, uint32_t accumulate);

// The ops as functions (see ops.h for shapes). Outputs are new activations unless a parameter says otherwise.
dure_tensor dure_add(dure_program *program, dure_tensor a, dure_tensor b);
dure_tensor dure_embedding(dure_program *program, dure_tensor table, dure_tensor indices);
void dure_embedding_add(dure_program *program, dure_tensor table, dure_tensor indices, dure_tensor y);  // y += rows
dure_tensor dure_matmul(dure_program *program, dure_tensor a, dure_tensor b, dure_tensor bias, bool transpose_a,
                        bool transpose_b);
// What else a matmul may do on the way (see ops.h): c = activation(op(a) op(b) + bias) + residual.
typedef struct dure_matmul_options {
  bool transpose_a, transpose_b;
  dure_tensor bias, residual;  // or absent
  bool has_activation;
  dure_activation activation;
} dure_matmul_options;
dure_tensor dure_matmul_with(dure_program *program, dure_tensor a, dure_tensor b, const dure_matmul_options *options);
// 8-bit rows and their scales (see quantize_rows in ops.h).
typedef struct dure_quantized {
  dure_tensor q, scales;
} dure_quantized;
dure_quantized dure_quantize_rows(dure_program *program, dure_tensor x);
// c = x weight^T + bias of type `dtype`, the activations quantised once for all products that share them.
//   x: dure_quantize_rows of [.., K]; weight: q [N, K], scales [N, K / 32]; bias [N] or absent
dure_tensor dure_quantized_matmul(dure_program *program, dure_quantized x, dure_quantized weight, dure_tensor bias,
                                  dure_dtype dtype);
dure_tensor dure_layer_norm(dure_program *program, dure_tensor x, dure_tensor weight, dure_tensor bias, float epsilon);
dure_tensor dure_rms_norm(dure_program *program, dure_tensor x, dure_tensor weight, float epsilon, float weight_offset);
dure_tensor dure_activation_apply(dure_program *program, dure_tensor x, dure_activation kind);
dure_tensor dure_scale(dure_program *program, dure_tensor x, float factor);
// A copy that ranks turn into a sum or an exchange (ops.h); alone it is one.
dure_tensor dure_copy_with_ranks(dure_program *program, dure_tensor x, dure_copy_among among);
dure_tensor dure_multiply(dure_program *program, dure_tensor a, dure_tensor b);
dure_tensor dure_gated_activation(dure_program *program, dure_tensor gate, dure_tensor up, dure_activation kind);
// `table`: the op's cosines_sines.
dure_tensor dure_rotary(dure_program *program, dure_tensor x, dure_tensor positions, dure_tensor table,
                        const dure_rotary_attributes *attributes);
// The same into `y`, which may be a view.
void dure_rotary_into(dure_program *program, dure_tensor x, dure_tensor positions, dure_tensor table,
                      const dure_rotary_attributes *attributes, dure_tensor y);
// `y` may be absent or a view; head_count 0: x's.
dure_tensor dure_copy_heads(dure_program *program, dure_tensor x, uint32_t head_count, dure_tensor y);
dure_tensor dure_attention(dure_program *program, dure_tensor q, dure_tensor k, dure_tensor v, float scale,
                           uint32_t window);
// The options of attention and attention_cached that few models have; all zero: none.
typedef struct dure_attention_options {
  uint32_t window;
  float soft_cap;
  dure_tensor slopes;           // f32 [H], or absent
  dure_tensor document_starts;  // u32 [B, T], or absent; not of attention_cached
} dure_attention_options;
dure_tensor dure_attention_with(dure_program *program, dure_tensor q, dure_tensor k, dure_tensor v, float scale,
                                const dure_attention_options *options);
// A paged cache (cache_append in ops.h); the scales are absent unless keys and values are u8.
typedef struct dure_paged_cache {
  dure_tensor keys, values, key_scales, value_scales, block_table, positions;
} dure_paged_cache;
void dure_cache_append(dure_program *program, dure_tensor k, dure_tensor v, const dure_paged_cache *cache);
dure_tensor dure_attention_cached(dure_program *program, dure_tensor q, const dure_paged_cache *cache, float scale,
                                  const dure_attention_options *options);
// Mixtures of experts (route and the rows after it in ops.h).
typedef struct dure_routing {
  dure_tensor weights, experts;  // f32, u32 [R, K]
} dure_routing;
dure_routing dure_route(dure_program *program, dure_tensor logits, dure_tensor bias,
                        const dure_route_attributes *attributes);
typedef struct dure_expert_rows {
  dure_tensor offsets, rows, places;  // u32 [E + 1], [R K], [R, K]
} dure_expert_rows;
dure_expert_rows dure_expert_order(dure_program *program, dure_tensor experts, uint32_t expert_count);
dure_tensor dure_expert_matmul(dure_program *program, dure_tensor a, dure_tensor offsets, dure_tensor b,
                               bool transpose_b);
// `places` and `residual` may be absent.
dure_tensor dure_expert_combine(dure_program *program, dure_tensor x, dure_tensor weights, dure_tensor places,
                                dure_tensor residual);
dure_tensor dure_cross_entropy(dure_program *program, dure_tensor logits, dure_tensor labels);  // loss [R]
// The same of logits = hidden weight^T, which are never stored whole; loss [R]. soft_cap: as in ops.h (0: none).
dure_tensor dure_linear_cross_entropy(dure_program *program, dure_tensor hidden, dure_tensor weight, dure_tensor labels,
                                      float soft_cap);
void dure_sum(dure_program *program, dure_tensor x, dure_tensor y, bool accumulate);         // y [1]
void dure_square_sum(dure_program *program, dure_tensor x, dure_tensor y, bool accumulate);  // y [1]
void dure_fill(dure_program *program, dure_tensor y, float value);
void dure_gradient_clip(dure_program *program, dure_tensor square_sum, dure_tensor step, dure_tensor state);
void dure_gradient_clip_with(dure_program *program, dure_tensor square_sum, dure_tensor step, dure_tensor state,
                             dure_gradient_clip_attributes attributes);
void dure_adamw(dure_program *program, dure_tensor gradient, dure_tensor step, dure_tensor state, dure_tensor parameter,
                dure_tensor first_moment, dure_tensor second_moment, dure_adamw_attributes attributes);
// adamw with the operands that only some precisions have; ops.h says what each is.
typedef struct dure_adamw_tensors {
  dure_tensor gradient, step, state;
  dure_tensor random;  // or absent
  dure_tensor parameter;
  dure_tensor master;  // or absent
  dure_tensor first_moment, second_moment;
  dure_tensor first_scales, second_scales;  // of moments that are u8, else absent
} dure_adamw_tensors;
void dure_adamw_with(dure_program *program, const dure_adamw_tensors *tensors, dure_adamw_attributes attributes);
dure_tensor dure_sample(dure_program *program, dure_tensor logits, dure_tensor settings, dure_tensor random,
                        uint32_t candidate_count);

// ---- gradients ---------------------------------------------------------------------------------------------------

typedef struct dure_gradient_target {
  dure_tensor value;     // an external tensor (parameters are views into it, or it is the parameter)
  dure_tensor gradient;  // external, same shape, any float type; parts that no parameter covers are left alone
} dure_gradient_target;

typedef enum dure_recompute {
  DURE_RECOMPUTE_NONE,
  DURE_RECOMPUTE_ACTIVATIONS,  // of a block: outputs of norms, rotations and activation functions
  DURE_RECOMPUTE_BLOCK,        // everything but its inputs
} dure_recompute;

typedef struct dure_gradient_options {
  bool accumulate;  // add to the targets' gradients (further micro-steps) instead of overwriting them
  dure_recompute recompute;
  uint32_t recompute_blocks;  // of blocks 1 to this one; results are the same bits either way
  // Further losses: tensors that no call reads, made from the targets, each with its gradient, of its shape and a
  // temporary of its own, which the backward pass may write over.
  const dure_gradient_target *further;
  size_t further_count;
} dure_gradient_options;

// Appends the backward pass of `loss` [R] with respect to the targets; `seed` f32 [1] is the gradient of every element
// of loss. `options` may be NULL: all zero. Overwrites logits with their gradient where cross_entropy was used, and may
// replace forward calls by ones that compute gradients at once (linear_cross_entropy).
DURE_MUST_CHECK dure_status dure_program_gradient(dure_program *program, dure_tensor loss, dure_tensor seed,
                                                  const dure_gradient_target *targets, size_t target_count,
                                                  const dure_gradient_options *options);

// ---- compiling and running ---------------------------------------------------------------------------------------

typedef struct dure_place {
  dure_tensor tensor;
  dure_buffer *buffer;
  uint64_t offset;
} dure_place;

typedef struct dure_compile_options {
  const char *label;     // "train", "evaluate": for traces and messages
  bool with_timestamps;  // a time for every op in dure_executable_profile
  uint64_t guard_bytes;  // > 0: that many sentinel bytes before and after every allocation (dure_executable_guards)
  const uint32_t
      *cuts;  // [cut_count] ascending: calls before which a submission may end (dure_executable_submit_calls)
  size_t cut_count;
} dure_compile_options;

// Checks that the device has every kernel (DURE_UNSUPPORTED names the first that is missing), plans memory by lifetime,
// allocates it and records. The program may be destroyed afterwards. Tensors keep their handles.
DURE_MUST_CHECK dure_status dure_program_compile(const dure_program *program, dure_device *device,
                                                 const dure_place *places, size_t place_count,
                                                 const dure_compile_options *options, dure_executable **out_executable);
void dure_executable_destroy(dure_executable *executable);  // NULL is fine; the caller has waited for its work
DURE_MUST_CHECK dure_status dure_executable_submit(dure_executable *executable, dure_stream *stream);
// The same, begun on the device when the event has reached the value.
DURE_MUST_CHECK dure_status dure_executable_submit_after(dure_executable *executable, dure_stream *stream,
                                                         dure_event *event, uint64_t value);
// Submits the calls [first, end) alone; both are cuts, 0 or the number of calls.
DURE_MUST_CHECK dure_status dure_executable_submit_calls(dure_executable *executable, dure_stream *stream,
                                                         uint32_t first, uint32_t end);
// Where a tensor lies (valid as long as the executable). Activations are only meaningful right after their last write.
DURE_MUST_CHECK dure_status dure_executable_operand(const dure_executable *executable, dure_tensor tensor,
                                                    dure_operand *out_operand);
// Copies a contiguous tensor to or from the host. write: in stream order. read: waits. `size` must be the tensor's
// bytes.
DURE_MUST_CHECK dure_status dure_executable_write(dure_executable *executable, dure_stream *stream, dure_tensor tensor,
                                                  const void *data, uint64_t size);
DURE_MUST_CHECK dure_status dure_executable_read(dure_executable *executable, dure_stream *stream, dure_tensor tensor,
                                                 void *data, uint64_t size);
// As read, without waiting: `data` is filled when `*out_point` has been waited for on the stream.
DURE_MUST_CHECK dure_status dure_executable_read_later(dure_executable *executable, dure_stream *stream,
                                                       dure_tensor tensor, void *data, uint64_t size,
                                                       uint64_t *out_point);

// What a program would take on a device, without allocating anything.
typedef struct dure_program_memory {
  uint64_t activation_bytes;                     // the arena: activations and workspaces
  uint64_t workspace_bytes;                      // the largest workspace, within the arena
  uint64_t external_bytes[DURE_LIFETIME_COUNT];  // of external tensors, by lifetime
  dure_cost cost;                                // of one submission
} dure_program_memory;
// Fails as compile() would for kernels that are missing and tensors that do not fit a buffer.
DURE_MUST_CHECK dure_status dure_program_measure(const dure_program *program, dure_device *device,
                                                 dure_program_memory *out_memory);

// Hands out the calls of a program, as they will be executed, with operands that have no memory. `scope` names the part
// of the model. For estimates.
typedef void (*dure_program_visitor)(void *context, const dure_op_call *call, const char *scope);
void dure_program_visit(const dure_program *program, dure_program_visitor visitor, void *context);

// Which calls, numbered from 0 in the order of execution, touch the external tensors of a program, through views too.
typedef void (*dure_program_use_visitor)(void *context, uint32_t call, dure_tensor external, dure_access access);
void dure_program_visit_uses(const dure_program *program, dure_program_use_visitor visitor, void *context);
uint32_t dure_program_call_count(const dure_program *program);
// The calls after which ranks send each other something, in the order of execution: copies among ranks, of tensors that
// are contiguous.
typedef struct dure_program_meeting {
  uint32_t call;
  dure_copy_among among;  // SUM or EXCHANGE
  dure_tensor source, target;
} dure_program_meeting;
typedef void (*dure_program_meeting_visitor)(void *context, const dure_program_meeting *meeting);
void dure_program_visit_meetings(const dure_program *program, dure_program_meeting_visitor visitor, void *context);

typedef struct dure_executable_memory {
  uint64_t activation_bytes, owned_external_bytes, workspace_bytes;
} dure_executable_memory;
dure_executable_memory dure_executable_memory_get(const dure_executable *executable);
dure_cost dure_executable_cost(const dure_executable *executable);  // of one submission
size_t dure_executable_recording_count(const dure_executable *executable);

// Runs op by op, waiting after each and looking at its float outputs. *out_found is set when one holds NaN or infinity;
// out_text then names the op, its scope, and the first bad element of which operand.
DURE_MUST_CHECK dure_status dure_executable_find_not_finite(dure_executable *executable, dure_stream *stream,
                                                            bool *out_found, char *out_text, size_t text_size);
// The same of calls [first, end) alone; what is behind the bad one does not run.
DURE_MUST_CHECK dure_status dure_executable_find_not_finite_in(dure_executable *executable, dure_stream *stream,
                                                               uint32_t first, uint32_t end, bool *out_found,
                                                               char *out_text, size_t text_size);
// Runs op by op and compares each op's outputs with the reference device's for the same inputs (DURE_VULKAN_CHECK=1).
// Fails with DURE_INTERNAL naming the first op that is off.
DURE_MUST_CHECK dure_status dure_executable_check(dure_executable *executable, dure_stream *stream);
// DURE_INTERNAL when a sentinel has been overwritten, naming the tensors on both sides.
DURE_MUST_CHECK dure_status dure_executable_guards(dure_executable *executable, dure_stream *stream);

typedef struct dure_profile_row {
  dure_op op;
  const char *label;
  uint64_t calls;
  double nanoseconds;
  dure_cost cost;
} dure_profile_row;
// Device time by op and shape of the last submission (with_timestamps), the slowest first. Release with free().
DURE_MUST_CHECK dure_status dure_executable_profile(dure_executable *executable, dure_profile_row **out_rows,
                                                    size_t *out_count);

#endif  // DURE_RUNTIME_PROGRAM_H_
