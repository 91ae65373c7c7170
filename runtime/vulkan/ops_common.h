// What the recorders share: binding operands, choosing widths and workgroups, dispatching any number of workgroups.
//
//   dure_vulkan_dispatch dispatch;
//   dure_vulkan_dispatch_begin(&dispatch, device, recording);
//   push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ);      // in the order of the shader's bindings
//   return dure_vulkan_dispatch_run(&dispatch, "kernel", constants, constant_count, &push, sizeof(push), groups);
#ifndef DURE_RUNTIME_VULKAN_OPS_COMMON_H_
#define DURE_RUNTIME_VULKAN_OPS_COMMON_H_

#include "runtime/ops.h"
#include "runtime/vulkan/vulkan_device.h"

typedef struct dure_vulkan_dispatch {
  dure_device *device;
  dure_recording *recording;
  dure_binding bindings[DURE_MAX_OPERANDS];
  size_t binding_count;
} dure_vulkan_dispatch;

void dure_vulkan_dispatch_begin(dure_vulkan_dispatch *dispatch, dure_device *device, dure_recording *recording);
// The next binding: the operand's bytes, from an aligned byte at or before its first to the end of its last 4-byte
// word. Returns element 0's place in the binding, in elements of the operand's type (of bytes: in words). An absent
// operand takes the first binding's range again (shaders that declare it never touch it then).
uint32_t dure_vulkan_bind(dure_vulkan_dispatch *dispatch, const dure_operand *operand, dure_access access);
// The same for `count` elements from element `first` of a contiguous operand.
uint32_t dure_vulkan_bind_elements(dure_vulkan_dispatch *dispatch, const dure_operand *operand, uint64_t first,
                                   uint64_t count, dure_access access);
// The same for `count` words from word `first` of a workspace or an operand of 4-byte elements; returns words.
uint32_t dure_vulkan_bind_words(dure_vulkan_dispatch *dispatch, const dure_operand *operand, uint64_t first,
                                uint64_t count, dure_access access);
// Adds the dispatch. `groups` workgroups are spread over x and y (shaders/lib/grid.glsl); none: nothing is recorded.
DURE_MUST_CHECK dure_status dure_vulkan_dispatch_run(dure_vulkan_dispatch *dispatch, const char *kernel,
                                                     const uint32_t *constants, size_t constant_count, const void *push,
                                                     size_t push_size, uint64_t groups);

// ---- choices -----------------------------------------------------------------------------------------------------

// Whether the operand begins at a multiple of four of its elements (or is absent).
bool dure_vulkan_is_aligned(const dure_operand *operand);
// 4 when each of the operands is aligned so and `row` elements are whole fours, else 1 (-DWIDTH of the kernel).
uint32_t dure_vulkan_width(const dure_operand *const *operands, size_t count, uint64_t row);
// A float operand's type as shaders/lib/value.glsl numbers it, for its specialisation constant: f32 (or absent) 0, bf16
// 1, f16 2.
uint32_t dure_vulkan_type(const dure_operand *operand);
// Whether a kernel that only reads this f32 operand does better with it as a texel buffer, and may have it so: on
// software drivers, where texels are read 16 bytes a lane by vector loads and storage buffers by a loop over the lanes.
bool dure_vulkan_reads_texels(const dure_device *device, const dure_operand *operand);
// Whether a kernel's workgroups are run as vectors of CPU threads: there one subgroup a workgroup and few workgroups
// are best, on a GPU many invocations.
bool dure_vulkan_is_software(const dure_device *device);
// Invocations of a workgroup: one subgroup on a software driver, else `wanted` (a power of two) as far as allowed.
uint32_t dure_vulkan_group_size(const dure_device *device, uint32_t wanted);
// The same for a workgroup that loops over `values`, several times if need be: larger where one invocation would
// otherwise pass limits.max_loop_iterations.
uint32_t dure_vulkan_group_size_over(const dure_device *device, uint32_t wanted, uint64_t values);
// Value of the constant `single_subgroup` (shaders/lib/workgroup.glsl) for workgroups of that size.
bool dure_vulkan_is_single_subgroup(const dure_device *device, uint32_t group_size);
// "base", "base_x4" (width 4), "base_subgroup", "base_x4_subgroup": the row of shaders/variants for this device.
typedef struct dure_vulkan_kernel_name {
  char text[64];
} dure_vulkan_kernel_name;
dure_vulkan_kernel_name dure_vulkan_kernel_of_width(const char *base, uint32_t width);
dure_vulkan_kernel_name dure_vulkan_kernel_with_reduction(const dure_device *device, const char *base, uint32_t width);

// ---- sums over rows ----------------------------------------------------------------------------------------------

// How a sum over many rows is cut into slabs that are summed side by side; one slab needs no second stage. Depends on
// the shape and the kind of device only.
typedef struct dure_vulkan_slabs {
  uint32_t count, rows_each;
} dure_vulkan_slabs;
dure_vulkan_slabs dure_vulkan_slabs_of(const dure_device *device, uint64_t rows, uint64_t columns);
// Columns that one invocation sums (constant `columns_each`).
uint32_t dure_vulkan_columns_each(const dure_device *device);
// Records y [columns] = (accumulate: +=) the sum of the rows of x [rows, columns]; with several slabs y is
// [slabs, columns], to be summed by another call (ops_reduction.c). x and y may be workspaces.
DURE_MUST_CHECK dure_status dure_vulkan_record_sum_rows(dure_device *device, dure_recording *recording,
                                                        const dure_operand *x, uint64_t rows, uint64_t columns,
                                                        dure_vulkan_slabs slabs, const dure_operand *y,
                                                        bool accumulate);

// ---- small things ------------------------------------------------------------------------------------------------

static inline uint64_t dure_vulkan_ceil_divide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// The length of a row; 1 for a scalar.
static inline uint64_t dure_vulkan_last_dimension(const dure_operand *operand) {
  return operand->rank > 0 ? operand->shape[operand->rank - 1] : 1;
}

// Whether the call adds to this output instead of overwriting it.
static inline bool dure_vulkan_accumulates(const dure_op_call *call, uint32_t operand) {
  return (call->accumulate >> operand & 1) != 0;
}

#endif  // DURE_RUNTIME_VULKAN_OPS_COMMON_H_
