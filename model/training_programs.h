// The programs of a training step, recorded and nothing more: training.c compiles and runs them, a plan measures them
// without taking any memory.
//
// Everything that lasts longer than a program lies in sets of pools, one tensor for each pool of the parameter layout,
// and in a handful of small values. Which sets exist, in which type and where follows from the options alone.
#ifndef DURE_MODEL_TRAINING_PROGRAMS_H_
#define DURE_MODEL_TRAINING_PROGRAMS_H_

#include "model/config.h"
#include "model/optimizer.h"
#include "model/parameters.h"
#include "runtime/program.h"

// What is kept once for all ranks, each having one part, instead of once a rank (Rajbhandari et al. 2020, "ZeRO",
// section 5: stages 1 to 3). Each stage has those before it.
typedef enum dure_sharding {
  DURE_SHARDING_NONE,
  DURE_SHARDING_OPTIMIZER,   // moments and masters
  DURE_SHARDING_GRADIENTS,   // summed into the part as soon as they are there
  DURE_SHARDING_PARAMETERS,  // gathered when they are needed, forward and backward, and dropped after
  DURE_SHARDING_COUNT,
} dure_sharding;

const char *dure_sharding_describe(dure_sharding sharding);  // "each with a part of the optimizer's state"

// The dtypes may be left at DURE_DTYPE_NONE, which means f32.
typedef struct dure_training_options {
  uint32_t batch_size;  // B
  uint32_t context;     // T, at most the model's context length
  uint32_t accumulate;  // micro-steps a step
  dure_adamw_options adamw;
  dure_dtype dtype;           // of parameters and activations: f32, bf16 or f16
  dure_dtype gradient_dtype;  // of the parameters' gradients: f32, or the 16-bit type
  dure_dtype moment_dtype;    // f32, bf16, or u8: 8 bits with a scale for each block
  bool has_master;            // 16-bit parameters are rounded from f32 ones, which the optimizer keeps
  dure_recompute recompute;   // what the backward pass computes again, of
  uint32_t recompute_blocks;  // so many layers, from the first on
  bool fuses_loss;            // logits are made in chunks and never stored whole (linear_cross_entropy)
  bool offloads_optimizer;    // masters and moments lie in host memory, where AdamW runs on the host's cores
  bool balances_experts;   // gradients have those of the experts' auxiliary loss, biases of routers theirs (balance.h)
  bool has_limits;         // updates may be left out (dure_training_set_limit)
  uint64_t seed;           // of the stochastic rounding of 16-bit parameters without masters
  dure_sharding sharding;  // over
  uint32_t shards, shard;  // so many ranks (0 or 1: one), of which this is that one; what a checkpoint is cut by, too
  uint32_t tensor_parts, tensor_part;  // of the model's matrices, as the config has them (tensor_parallel.h)
  uint32_t sequence_parts,
      sequence_part;  // of every sequence this rank has this part of so many: context / parts tokens
} dure_training_options;

// ---- what lasts --------------------------------------------------------------------------------------------------

typedef enum dure_training_set {
  DURE_TRAINING_PARAMETERS,
  DURE_TRAINING_MASTERS,
  DURE_TRAINING_GRADIENTS,
  DURE_TRAINING_FIRST_MOMENTS,
  DURE_TRAINING_SECOND_MOMENTS,
  DURE_TRAINING_FIRST_SCALES,  // of the blocks of 8-bit moments
  DURE_TRAINING_SECOND_SCALES,
  DURE_TRAINING_SET_COUNT,
} dure_training_set;

const char *dure_training_set_label(dure_training_set set);  // "first moments"
// The type of a set's elements; DURE_DTYPE_NONE when a run with these options has no such set.
dure_dtype dure_training_set_dtype(const dure_training_options *options, dure_training_set set);
// How it is kept; false when there is no such set.
bool dure_training_set_storage(const dure_training_options *options, dure_training_set set,
                               dure_parameter_storage *out_storage);
// How the sums over the ranks see it: as dure_training_set_storage, but whole.
dure_parameter_storage dure_training_whole_storage(const dure_training_options *options, dure_training_set set);
bool dure_training_set_is_sharded(const dure_training_options *options, dure_training_set set);
// Whether the set lies on the device; else in host memory.
bool dure_training_set_is_on_device(const dure_training_options *options, dure_training_set set);
// Bytes of one pool of a set, and of the whole set; 0 when there is none.
uint64_t dure_training_pool_bytes(const dure_training_options *options, const dure_parameter_layout *layout,
                                  dure_training_set set, size_t pool);
uint64_t dure_training_set_bytes(const dure_training_options *options, const dure_parameter_layout *layout,
                                 dure_training_set set);

// Small values of 4 bytes. They share one buffer on the device, each at a multiple of the largest alignment that a
// device asks for.
typedef enum dure_training_value {
  DURE_TRAINING_SEED,        // [1] gradient of every label's loss
  DURE_TRAINING_STEP,        // [DURE_STEP_COUNT] what changes with every step
  DURE_TRAINING_STATE,       // [DURE_STATE_COUNT] of the optimizer
  DURE_TRAINING_SQUARE_SUM,  // [1] of all gradients
  DURE_TRAINING_LOSS_SUM,    // [1] over the labels of a step
  DURE_TRAINING_RANDOM,      // u32 [4]: seed low, seed high, step, stream
  DURE_TRAINING_SHARE,       // [1] of a micro-step in the step's auxiliary loss
  DURE_TRAINING_VALUE_COUNT,
} dure_training_value;
enum { DURE_TRAINING_RANDOM_STREAM = 2 };                        // beside those of initial weights and of sampling
uint64_t dure_training_value_count(dure_training_value value);   // elements
uint64_t dure_training_value_offset(dure_training_value value);  // bytes from the buffer's start
uint64_t dure_training_values_bytes(void);                       // of the buffer

// ---- programs ----------------------------------------------------------------------------------------------------

typedef enum dure_training_program {
  DURE_TRAINING_CLEAR,       // gradients and loss sum to zero; only before several micro-steps
  DURE_TRAINING_MICRO_STEP,  // forward and backward
  DURE_TRAINING_ADD,         // adds the gradients of a micro-step to the parts that are kept; only of parts
  DURE_TRAINING_NORM,        // sum of the squares of the part's gradients; only where ranks have parts of them or of
                             // the optimizer's states
  DURE_TRAINING_UPDATE,      // gradient norm and clip scale, then AdamW unless that is the host's work
  DURE_TRAINING_PROGRAM_COUNT,
} dure_training_program;

const char *dure_training_program_label(dure_training_program which);  // as in traces and messages: "train"
// f16: losses are scaled, by a factor that the device adapts.
bool dure_training_scales_loss(const dure_training_options *options);
// 16-bit parameters without masters, and 8-bit moments, are rounded stochastically.
bool dure_training_needs_random(const dure_training_options *options);
bool dure_training_program_is_needed(const dure_training_options *options, dure_training_program which);

// The external tensors of a recorded program: handles are absent where it has no such tensor.
typedef struct dure_training_tensors {
  size_t pool_count;
  dure_tensor *sets[DURE_TRAINING_SET_COUNT];  // [pool_count] each
  dure_tensor *whole;                          // [pool_count]: of ADD, the gradients of the micro-step, whole
  uint32_t forward_calls;                      // of MICRO_STEP: so many come before the backward pass
  dure_tensor values[DURE_TRAINING_VALUE_COUNT];
  dure_tensor tokens, positions, labels;  // [B, T] u32; they get their memory from compile()
  dure_tensor presence;                   // [B T] f32 (balance.h), likewise; absent without balance
} dure_training_tensors;

// Records one of the programs into an empty program. Release the tensors with dure_training_tensors_clear, also after a
// failure.
DURE_MUST_CHECK dure_status dure_training_program_record(dure_training_program which, const dure_model_config *config,
                                                         const dure_parameter_layout *layout,
                                                         const dure_training_options *options, dure_program *program,
                                                         dure_training_tensors *out_tensors);
void dure_training_tensors_clear(dure_training_tensors *tensors);

// Tokens of a sequence that this rank has.
uint32_t dure_training_tokens(const dure_training_options *options);
// Ranks do not only sum gradients: a micro-step's program has calls after which they meet.
bool dure_training_meets(const dure_training_options *options);

// Fails with DURE_INVALID_ARGUMENT for sizes and types that do not go together.
DURE_MUST_CHECK dure_status dure_training_options_check(const dure_model_config *config,
                                                        const dure_training_options *options);

#endif  // DURE_MODEL_TRAINING_PROGRAMS_H_
