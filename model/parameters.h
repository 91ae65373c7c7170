// A model's parameters: their names, shapes and places in a few large buffers ("pools").
//
// All parameters lie one after another in pools, each at a multiple of 64 elements (256 in a model's part): those with
// weight decay (matrices) first, then the others, then routers' biases, never two kinds in one pool. So the optimizer
// and the gradient norm are one op a pool instead of one a parameter, and gradients and moments are buffers of the same
// layout. A pool holds at most 64 Mi elements (256 MiB of f32), unless a single tensor is larger: then it has its own.
// The layout depends on the config alone, never on a device, so that the order of every sum is the same everywhere.
#ifndef DURE_MODEL_PARAMETERS_H_
#define DURE_MODEL_PARAMETERS_H_

#include "model/config.h"
#include "model/family.h"
#include "runtime/hal.h"
#include "runtime/program.h"

// Elements; shards and parts of models begin at blocks of moments (DURE_MOMENT_BLOCK).
enum { DURE_PARAMETER_ALIGNMENT = 64, DURE_SHARD_ALIGNMENT = 256 };
#define DURE_POOL_MAX_ELEMENTS (UINT64_C(64) << 20)

// One tensor of a file: all of a parameter or some of its rows.
typedef struct dure_parameter_part {
  char name[112];  // public
  uint64_t rows;   // its first dimension, of the whole model
} dure_parameter_part;

// What a part of a model has of a parameter's rows (axis 0) or columns (axis 1): runs of the whole axis, one after the
// other; of part p each begins p times its length further on (tensor_parallel.h). Along a longer axis (the rows of
// experts, one's after another's) they begin again.
typedef struct dure_parameter_cut_run {
  uint64_t first, count;  // of part 0
} dure_parameter_cut_run;
typedef struct dure_parameter_cut {
  uint32_t axis, run_count;  // no runs: the parameter is whole
  uint32_t part, parts;
  dure_parameter_cut_run runs[DURE_PARTS_MOST];
} dure_parameter_cut;

typedef struct dure_parameter {
  char name[112];  // public: "transformer.h.0.attn.c_attn.weight"; of the first part
  const dure_parameter_row *row;
  uint32_t layer;
  uint32_t rank;
  uint64_t shape[2];
  uint64_t count;     // elements
  uint64_t whole[2];  // the shape that files have
  dure_parameter_cut cut;
  bool decays;  // rank >= 2: weight decay applies
  bool steers;  // a router's bias: in pools of their own, moved by its gradient's sign (balance.h)
  uint32_t pool;
  uint64_t offset;  // elements from the pool's start
  uint32_t part_count;
  dure_parameter_part *parts;                     // of the layout
  uint32_t group_count, group_heads, head_width;  // BY_GROUP: G, H / G, D
  // Packed (packed.h; bits 0: it is not): `pool` and `offset` are those of its codes, whose matrix is [out, in] in any
  // case; scales and minima [out, in / scale_group] lie in a pool of `scales_dtype`, f32 or f16.
  uint32_t bits, scale_group, scales_pool;
  dure_dtype scales_dtype;
  bool has_minima;
  bool rounds_inputs;  // products take 8-bit integers in blocks of 32 of what they multiply the matrix with
  uint64_t scales_offset, minima_offset;
} dure_parameter;

typedef struct dure_parameter_pool {
  uint64_t count;    // elements, alignment included
  uint64_t padding;  // of those, at the end, so that it can be divided
  bool decays, steers;
  dure_dtype dtype;  // of pools for packed parameters, whatever the others are kept in; NONE: as the others
} dure_parameter_pool;

typedef struct dure_parameter_layout {
  dure_parameter *parameters;  // in the family's order, layer by layer
  size_t count;
  dure_parameter_pool *pools;
  size_t pool_count;
  dure_parameter_part *parts;  // of all parameters, one's after another's
  size_t part_count;
  uint64_t element_count;  // of all parameters, without alignment
} dure_parameter_layout;

// Of which a parameter's place is a multiple.
static inline uint64_t dure_parameter_alignment(const dure_parameter *parameter) {
  return parameter->cut.parts > 1 ? DURE_SHARD_ALIGNMENT : DURE_PARAMETER_ALIGNMENT;
}

DURE_MUST_CHECK dure_status dure_parameter_layout_create(const dure_model_config *config,
                                                         dure_parameter_layout *out_layout);
void dure_parameter_layout_clear(dure_parameter_layout *layout);
// Places parameters again, those that have become packed in pools of their own.
void dure_parameter_layout_place(dure_parameter_layout *layout);
// Cuts pools at the edges of layers, into some that hold about an eighth of the elements each, and pads each so that it
// can be divided into `shards` equal parts at multiples of DURE_SHARD_ALIGNMENT; parameters stay in their order. For a
// layout without packed parameters; shards of 0 or 1 change nothing.
void dure_parameter_layout_divide(dure_parameter_layout *layout, uint32_t shards);
// How many rows of a part, from `row` on, lie one after the other in the parameter too, and where: from its row
// *out_row; or are not of this part of a model.
#define DURE_ROW_ELSEWHERE UINT64_MAX
uint64_t dure_parameter_run(const dure_parameter *parameter, uint32_t part, uint64_t row, uint64_t *out_row);
// NULL when there is none.
const dure_parameter *dure_parameter_find(const dure_parameter_layout *layout, dure_role role, uint32_t layer);

// Initial values of elements [first, first + count), in double rounded to f32: a function of (seed, parameter's index,
// element), the same on every machine up to the last bit of the C library's logarithm and cosine.
void dure_parameter_initial(const dure_parameter_layout *layout, size_t index, const dure_model_config *config,
                            uint64_t seed, uint64_t first, uint64_t count, float *out_values);

// ---- buffers -----------------------------------------------------------------------------------------------------

typedef enum dure_parameter_home {
  DURE_HOME_DEVICE,
  DURE_HOME_MAPPED,  // on the device, and reached by the host without copies
  DURE_HOME_HOST,    // in host memory, out of the device's reach
} dure_parameter_home;

// How a set of values that belong to parameters is kept.
typedef struct dure_parameter_storage {
  const char *label;  // names them in messages about memory
  dure_dtype dtype;
  uint32_t block;  // elements of a pool that share one value: 1, or more for scales
  dure_parameter_home home;
  uint32_t shard, shards;  // of each pool only this one of so many equal parts is there; shards 0 or 1: all of it
} dure_parameter_storage;

// One array a pool: the parameters themselves, their gradients, a moment, ...
typedef struct dure_parameter_buffers {
  dure_buffer **pools;  // NULL entries in host memory
  void **mapped;        // where the host reaches them; NULL entries where it does not
  size_t count;         // 0: there is no such set
  dure_parameter_storage storage;
  uint64_t *shard_sizes;  // elements of each pool's part; NULL where pools are whole
} dure_parameter_buffers;

// Zero-filled. `device` may be NULL in host memory.
DURE_MUST_CHECK dure_status dure_parameter_buffers_create(dure_device *device, const dure_parameter_layout *layout,
                                                          const dure_parameter_storage *storage,
                                                          dure_parameter_buffers *out_buffers);
// Fills shard_sizes by the storage; for whoever makes buffers in another way.
DURE_MUST_CHECK dure_status dure_parameter_shard_sizes(const dure_parameter_layout *layout,
                                                       dure_parameter_buffers *buffers);
void dure_parameter_buffers_clear(dure_parameter_buffers *buffers);
// Values and bytes of a pool under that storage: of its part, where it is divided.
uint64_t dure_parameter_pool_values(const dure_parameter_pool *pool, const dure_parameter_storage *storage);
uint64_t dure_parameter_pool_bytes(const dure_parameter_pool *pool, const dure_parameter_storage *storage);

// Bytes of a pool's part, to and from the host. write: `bytes` may be reused at once; in stream order, but what the
// host reaches (all, on software drivers) is written at once, so nothing that runs may use it. read: waits.
DURE_MUST_CHECK dure_status dure_parameter_pool_write(const dure_parameter_buffers *buffers, size_t pool,
                                                      dure_stream *stream, uint64_t offset, const void *bytes,
                                                      uint64_t size);
DURE_MUST_CHECK dure_status dure_parameter_pool_read(const dure_parameter_buffers *buffers, size_t pool,
                                                     dure_stream *stream, uint64_t offset, void *out_bytes,
                                                     uint64_t size);

// Elements [first, first + count) of a parameter, to and from f32 values of the host, rounded to nearest even where the
// buffers have 16 bits; as above. Of divided pools, upload takes what lies in the part and leaves the rest.
DURE_MUST_CHECK dure_status dure_parameter_upload(const dure_parameter_buffers *buffers,
                                                  const dure_parameter *parameter, dure_stream *stream, uint64_t first,
                                                  uint64_t count, const float *values);
DURE_MUST_CHECK dure_status dure_parameter_download(const dure_parameter_buffers *buffers,
                                                    const dure_parameter *parameter, dure_stream *stream,
                                                    uint64_t first, uint64_t count, float *out_values);

// Elements [*out_first, *out_end) of the pool are those that the storage keeps.
void dure_parameter_shard_range(const dure_parameter_pool *pool, const dure_parameter_storage *storage,
                                uint64_t *out_first, uint64_t *out_end);

// Declares one external tensor a pool; `out_pools` has layout->pool_count entries.
void dure_parameter_pools_declare(dure_program *program, const dure_parameter_layout *layout,
                                  const dure_parameter_storage *storage, dure_lifetime lifetime,
                                  dure_tensor *out_pools);
// The places of declared pools, for compile(): fills layout->pool_count entries.
void dure_parameter_pools_place(const dure_parameter_buffers *buffers, const dure_tensor *pools,
                                dure_place *out_places);
// A parameter as a view of its pool.
dure_tensor dure_parameter_view(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter);

// ---- files -------------------------------------------------------------------------------------------------------

struct dure_safetensors;
// Fills every set of buffers with the same values, from a file with the parameters' public names, each followed by
// `suffix` ("" for weights); the family's prefix may be missing. Every parameter must be there with its shape:
// DURE_CORRUPT says which is not, and what the config expects. Of the tensors that the config has no place for, a layer
// beyond its last one is a failure, others are a warning in the log. Nothing is loaded when a check fails. Only the
// parameters of `pool`, then without those checks, unless it is DURE_POOLS_ALL.
#define DURE_POOLS_ALL SIZE_MAX
DURE_MUST_CHECK dure_status dure_parameters_load(const dure_parameter_buffers *const *targets, size_t target_count,
                                                 const dure_parameter_layout *layout, const dure_model_config *config,
                                                 const struct dure_safetensors *file, const char *path,
                                                 const char *suffix, size_t pool, dure_stream *stream);
// All that is checked before.
DURE_MUST_CHECK dure_status dure_parameters_check(const dure_parameter_layout *layout, const dure_model_config *config,
                                                  const struct dure_safetensors *file, const char *path,
                                                  const char *suffix);
// Whether the file has the first parameter under that suffix, and in which type; NONE: it has not.
dure_dtype dure_parameters_file_dtype(const dure_parameter_layout *layout, const dure_model_config *config,
                                      const struct dure_safetensors *file, const char *suffix);

typedef struct dure_named_buffers {
  const dure_parameter_buffers *buffers;
  const char *suffix;  // appended to every name: "" or ".first_moment"; one without buffers is left out
  const dure_parameter_buffers *scales;  // of 8-bit moments (moments.h), else NULL
} dure_named_buffers;
// Writes every parameter of every set in the set's own type, streaming; the file is synced. Sets of scales, and no
// others, are written by pools: "pool.0.first_scales" for the suffix ".first_scales".
DURE_MUST_CHECK dure_status dure_parameters_save(const dure_named_buffers *sets, size_t set_count,
                                                 const dure_parameter_layout *layout, dure_stream *stream,
                                                 const char *path);
// Fills buffers bit by bit from what dure_parameters_save wrote of a set of the same type; DURE_CORRUPT otherwise.
DURE_MUST_CHECK dure_status dure_parameters_load_exactly(const dure_parameter_buffers *buffers,
                                                         const dure_parameter_layout *layout,
                                                         const struct dure_safetensors *file, const char *path,
                                                         const char *suffix, dure_stream *stream);

#endif  // DURE_MODEL_PARAMETERS_H_
