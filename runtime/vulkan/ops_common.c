#include "runtime/vulkan/ops_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- dispatches --------------------------------------------------------------------------------------------------

void dure_vulkan_dispatch_begin(dure_vulkan_dispatch *dispatch, dure_device *device, dure_recording *recording) {
  dispatch->device = device;
  dispatch->recording = recording;
  dispatch->binding_count = 0;
}

// Shaders reach 16-bit elements by the words that hold them, so bindings end at whole words.
static uint32_t bind_bytes(dure_vulkan_dispatch *dispatch, const dure_operand *operand, uint64_t offset, uint64_t size,
                           dure_access access) {
  const uint64_t alignment = dispatch->device->info.limits.offset_alignment;
  const uint64_t before = offset & (alignment - 1);
  dispatch->bindings[dispatch->binding_count++] = (dure_binding){
      .buffer = operand->buffer, .offset = offset - before, .size = (size + before + 3) / 4 * 4, .access = access};
  return (uint32_t)before;
}

// Bytes (workspaces, blocks of 8-bit elements) count in words.
static uint32_t element_size(const dure_operand *operand) {
  return operand->dtype == DURE_DTYPE_U8 ? 4 : (uint32_t)dure_dtype_size(operand->dtype);
}

uint32_t dure_vulkan_bind(dure_vulkan_dispatch *dispatch, const dure_operand *operand, dure_access access) {
  if (!dure_operand_is_present(operand)) {
    dispatch->bindings[dispatch->binding_count] = dispatch->bindings[0];
    dispatch->bindings[dispatch->binding_count++].access = DURE_READ;
    return 0;
  }
  return bind_bytes(dispatch, operand, operand->offset, dure_operand_span(operand), access) / element_size(operand);
}

uint32_t dure_vulkan_bind_elements(dure_vulkan_dispatch *dispatch, const dure_operand *operand, uint64_t first,
                                   uint64_t count, dure_access access) {
  const uint32_t size = element_size(operand);
  return bind_bytes(dispatch, operand, operand->offset + size * first, size * count, access) / size;
}

uint32_t dure_vulkan_bind_words(dure_vulkan_dispatch *dispatch, const dure_operand *operand, uint64_t first,
                                uint64_t count, dure_access access) {
  return bind_bytes(dispatch, operand, operand->offset + 4 * first, 4 * count, access) / 4;
}

enum { MOST_GROUPS_A_DIMENSION = 65535 };

dure_status dure_vulkan_dispatch_run(dure_vulkan_dispatch *dispatch, const char *kernel, const uint32_t *constants,
                                     size_t constant_count, const void *push, size_t push_size, uint64_t groups) {
  if (groups == 0) return NULL;
  dure_kernel *found = NULL;
  DURE_TRY(dure_kernel_get(dispatch->device, kernel, constants, constant_count, &found));
  const uint64_t x = groups < MOST_GROUPS_A_DIMENSION ? groups : MOST_GROUPS_A_DIMENSION;
  const uint64_t y = dure_vulkan_ceil_divide(groups, x);
  if (y > MOST_GROUPS_A_DIMENSION) {
    return dure_fail(DURE_INTERNAL, "%s: %llu workgroups are more than one dispatch can have", kernel,
                     (unsigned long long)groups);
  }
  return dure_recording_dispatch(dispatch->recording, found, dispatch->bindings, dispatch->binding_count, push,
                                 push_size, (uint32_t)x, (uint32_t)y, 1);
}

// ---- choices -----------------------------------------------------------------------------------------------------

bool dure_vulkan_is_aligned(const dure_operand *operand) {
  return !dure_operand_is_present(operand) || operand->offset % (4 * dure_dtype_size(operand->dtype)) == 0;
}

uint32_t dure_vulkan_width(const dure_operand *const *operands, size_t count, uint64_t row) {
  if (row % 4 != 0) return 1;
  for (size_t i = 0; i < count; i++) {
    if (!dure_vulkan_is_aligned(operands[i])) return 1;
  }
  return 4;
}

uint32_t dure_vulkan_type(const dure_operand *operand) {
  return operand->dtype == DURE_DTYPE_BF16 ? 1 : operand->dtype == DURE_DTYPE_F16 ? 2 : 0;
}

bool dure_vulkan_reads_texels(const dure_device *device, const dure_operand *operand) {
  const uint64_t texels = dure_vulkan_device_caps(device)->max_texel_elements;
  return dure_vulkan_is_software(device) && operand->dtype == DURE_DTYPE_F32 && operand->offset % 16 == 0 &&
         dure_operand_span(operand) / 16 + device->info.limits.offset_alignment / 16 < texels;
}

bool dure_vulkan_is_software(const dure_device *device) {
  const char *forced = getenv("DURE_VULKAN_GROUPS");
  if (forced != NULL && strcmp(forced, "gpu") == 0) return false;
  if (forced != NULL && strcmp(forced, "software") == 0) return true;
  return dure_vulkan_device_caps(device)->has_software_workgroups;
}

enum { LARGEST_GROUP = 256 };  // shaders/lib/workgroup.glsl

uint32_t dure_vulkan_group_size(const dure_device *device, uint32_t wanted) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  if (dure_vulkan_is_software(device)) wanted = caps->subgroup_size < 4 ? 4 : caps->subgroup_size;
  uint32_t size = 1;
  while (size < wanted && 2 * size <= caps->max_invocations && size < LARGEST_GROUP) size *= 2;
  return size;
}

uint32_t dure_vulkan_group_size_over(const dure_device *device, uint32_t wanted, uint64_t values) {
  const uint32_t most_invocations = dure_vulkan_device_caps(device)->max_invocations;
  const uint64_t most_iterations = device->info.limits.max_loop_iterations / 4;  // up to three loops, and some to spare
  uint32_t size = dure_vulkan_group_size(device, wanted);
  while (values / size > most_iterations && 2 * size <= most_invocations && size < LARGEST_GROUP) size *= 2;
  return size;
}

bool dure_vulkan_is_single_subgroup(const dure_device *device, uint32_t group_size) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const bool is_fixed = caps->driver == DURE_VULKAN_DRIVER_LLVMPIPE || caps->driver == DURE_VULKAN_DRIVER_SWIFTSHADER;
  return is_fixed && group_size == caps->subgroup_size;
}

static dure_vulkan_kernel_name kernel_name(const char *base, uint32_t width, bool has_subgroups) {
  dure_vulkan_kernel_name name;
  snprintf(name.text, sizeof(name.text), "%s%s%s", base, width == 4 ? "_x4" : "", has_subgroups ? "_subgroup" : "");
  return name;
}

dure_vulkan_kernel_name dure_vulkan_kernel_of_width(const char *base, uint32_t width) {
  return kernel_name(base, width, false);
}

dure_vulkan_kernel_name dure_vulkan_kernel_with_reduction(const dure_device *device, const char *base, uint32_t width) {
  const dure_vulkan_kernel_name name = kernel_name(base, width, true);
  return dure_vulkan_device_has_kernel(device, name.text) ? name : kernel_name(base, width, false);
}

// ---- sums over rows ----------------------------------------------------------------------------------------------

// Enough invocations to fill the device, but slabs of about the square root of the rows at least, so that the second
// stage is no longer than the first; SLAB_ROWS_MOST and SLABS_MOST bound the loops of both.
enum { SLAB_ROWS_LEAST = 32, SLAB_ROWS_MOST = 4096, SLABS_MOST = 8192 };

dure_vulkan_slabs dure_vulkan_slabs_of(const dure_device *device, uint64_t rows, uint64_t columns) {
  const uint64_t invocations_wanted = dure_vulkan_is_software(device) ? 128 : 65536;
  const uint64_t invocations = dure_vulkan_ceil_divide(columns, 4);
  uint64_t slabs = dure_vulkan_ceil_divide(invocations_wanted, invocations);
  uint64_t rows_each = dure_vulkan_ceil_divide(rows, slabs), least = SLAB_ROWS_LEAST;
  while (least * least < rows && least < SLAB_ROWS_MOST) least *= 2;
  if (rows_each < least) rows_each = least;
  if (rows_each > SLAB_ROWS_MOST) rows_each = SLAB_ROWS_MOST;
  if (rows > rows_each * SLABS_MOST) rows_each = dure_vulkan_ceil_divide(rows, SLABS_MOST);
  slabs = dure_vulkan_ceil_divide(rows, rows_each);
  return (dure_vulkan_slabs){.count = (uint32_t)slabs, .rows_each = (uint32_t)rows_each};
}

// lavapipe, sum_rows [1024, 3072]: 16 ms with 1, 8 with 2, 3.0 with 4, 2.6 with 16 (whose code takes 0.3 s to
// generate): long runs of each row instead of 128 bytes.
uint32_t dure_vulkan_columns_each(const dure_device *device) { return dure_vulkan_is_software(device) ? 4 : 1; }
