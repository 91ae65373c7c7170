// What `dure tune` has measured on a device: the fastest variant of matmul and attention for each class of shapes, and
// the rates that planning reckons with. Kept in the cache folder beside the compiled kernels, one JSON file a device,
// driver version and profile:
//
//   {"format": 1, "device": "...", "driver": "...", "measured": 1790000000,
//    "rates": {"matmul_flops": 7.9e10, ...},
//    "matmul": {"nt/f32/m128/n2048/k512": {"variant": "matmul_texel", "speedup": 1.08}, ...},
//    "attention": {"attention/16/forward/d64": {"variant": "tile_small", "speedup": 1.2}, ...}}
//
// Without a file, or with DURE_VULKAN_TUNING=0, the tables of matmul_table.c, attention_matrix.c and attention_common.c
// choose. Choices change the order of sums,
// so results may differ in the last bits before and after tuning; on one file they repeat.
#ifndef DURE_RUNTIME_VULKAN_TUNING_H_
#define DURE_RUNTIME_VULKAN_TUNING_H_

#include "runtime/vulkan/matmul_table.h"
#include "runtime/vulkan/plan.h"

typedef struct vulkan_tuning_row {
  char shape_class[40];
  char variant[48];
  double speedup;  // over the table's choice when it was measured
} vulkan_tuning_row;

typedef struct vulkan_tuning {
  vulkan_tuning_row *rows;  // sorted by class
  size_t count, capacity;
  dure_device_rates rates;  // is_measured: they were in the file
  int64_t measured;         // Unix seconds; 0: never
  char candidate[48];       // while tuning: tried for every call of `candidate_op`; else ""
  dure_op candidate_op;
} vulkan_tuning;

// Shape classes: transpositions, type, and the buckets of M (1, 16, 128, more), N and K (512, 2048, more).
typedef struct vulkan_tuning_class {
  char text[40];
} vulkan_tuning_class;
vulkan_tuning_class vulkan_tuning_class_of(uint64_t M, uint64_t N, uint64_t K, bool transpose_a, bool transpose_b,
                                           bool is_16_bit);

// Of attention and its gradient: type and the bucket of the head size (32, 64, 96, 128, more).
vulkan_tuning_class vulkan_tuning_class_of_attention(dure_op op, uint64_t head_size, bool is_16_bit);

// Reads a file's bytes, which may be anything: DURE_CORRUPT with what is wrong, and an empty tuning, when they are not
// such an object. Unknown keys are ignored, so that later versions may add some.
DURE_MUST_CHECK dure_status vulkan_tuning_parse(const char *bytes, size_t size, vulkan_tuning *out_tuning);
// The file's text; released with free().
DURE_MUST_CHECK dure_status vulkan_tuning_format(const vulkan_tuning *tuning, const char *device, const char *driver,
                                                 char **out_text);
DURE_MUST_CHECK dure_status vulkan_tuning_set(vulkan_tuning *tuning, const char *shape_class, const char *variant,
                                              double speedup);
// "untuned", or how many classes are and a hash of what was chosen for them: equal texts choose equal kernels.
void vulkan_tuning_describe(const vulkan_tuning *tuning, char *out_text, size_t size);
const char *vulkan_tuning_find(const vulkan_tuning *tuning, const char *shape_class);  // the variant, or NULL
void vulkan_tuning_release(vulkan_tuning *tuning);

// The file of a device; NULL when there is nowhere to keep it.
char *vulkan_tuning_path(const vulkan_capabilities *capabilities, const vulkan_plan *plan);
// Empty when there is none, or (said in the log) when it is damaged.
void vulkan_tuning_load(const vulkan_capabilities *capabilities, const vulkan_plan *plan, vulkan_tuning *out_tuning);

// For matmul_table.c: the variant that measured best for calls like this, or NULL. It may be unable to run this one.
const char *dure_vulkan_tuned_matmul(const dure_device *device, const dure_vulkan_matmul_problem *problem,
                                     bool is_16_bit);

// For attention_matrix.c and attention_common.c likewise, for attention or attention_gradient: a row of either's table.
const char *dure_vulkan_tuned_attention(const dure_device *device, dure_op op, bool is_16_bit, uint64_t head_size);

#endif  // DURE_RUNTIME_VULKAN_TUNING_H_
