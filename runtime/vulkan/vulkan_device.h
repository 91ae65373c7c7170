// What the Vulkan backend's op files may know of the device: numbers and switches, no Vulkan handles.
//
// An op file (runtime/vulkan/ops*.c) chooses a kernel variant by these numbers, gets it by dure_kernel_get and records
// dispatches by the functions of runtime/hal.h. Everything here is fixed when the device is opened.
#ifndef DURE_RUNTIME_VULKAN_VULKAN_DEVICE_H_
#define DURE_RUNTIME_VULKAN_VULKAN_DEVICE_H_

#include <stdbool.h>
#include <stdint.h>

#include "runtime/hal.h"

typedef enum dure_vulkan_feature {
#define DURE_VULKAN_FEATURE(identifier, name, use, text) DURE_VULKAN_##identifier,
#include "runtime/vulkan/features.def"
#undef DURE_VULKAN_FEATURE
  DURE_VULKAN_FEATURE_COUNT
} dure_vulkan_feature;

// Drivers that the tables of variants tell apart.
typedef enum dure_vulkan_driver {
  DURE_VULKAN_DRIVER_OTHER,
  DURE_VULKAN_DRIVER_LLVMPIPE,
  DURE_VULKAN_DRIVER_SWIFTSHADER,
  DURE_VULKAN_DRIVER_NVIDIA,
  DURE_VULKAN_DRIVER_AMD,  // RADV, AMDVLK, proprietary
  DURE_VULKAN_DRIVER_INTEL,
} dure_vulkan_driver;

// A product that a subgroup's matrix units make at once: [M, K] x [K, N], added to f32 sums
// (VK_KHR_cooperative_matrix).
typedef struct dure_vulkan_matrix_shape {
  uint32_t M, N, K;
  bool is_bfloat16;  // else the factors are f16
} dure_vulkan_matrix_shape;
enum { DURE_VULKAN_MATRIX_SHAPES_MOST = 16 };

// The same made by a workgroup of exactly `invocations`, of any size in multiples of these (VK_NV_cooperative_matrix2).
typedef struct dure_vulkan_workgroup_matrix {
  uint32_t M, N, K;
  uint32_t invocations;
  bool is_bfloat16;
} dure_vulkan_workgroup_matrix;

// The environment's limits (DURE_VULKAN_LIMIT_*) and profile (profiles.h) are applied; dure_device_restrict lowers only
// `info.limits`.
typedef struct dure_vulkan_caps {
  dure_device_kind kind;
  dure_vulkan_driver driver;     // whose rows of tables are used: an imposed profile's
  bool has_software_workgroups;  // workgroups run as vectors of CPU threads; false under a profile
  uint32_t vendor_id, device_id;
  uint32_t driver_id;                           // VkDriverId
  uint32_t subgroup_size;                       // what kernels get unless they ask
  uint32_t subgroup_minimum, subgroup_maximum;  // what `subgroup:N` may ask for; both subgroup_size without the feature
  uint32_t max_invocations;                     // of one workgroup
  uint32_t max_group_size[3];
  uint32_t max_group_count[3];
  uint32_t shared_bytes;
  uint32_t push_bytes;
  uint32_t max_storage_bindings;  // `r` and `w` bindings of one kernel; Vulkan promises only 4
  uint64_t max_binding_bytes;
  uint64_t storage_alignment;   // of a storage binding's offset
  uint64_t max_texel_elements;  // 16-byte texels of one `t` binding; 0 without texel buffers
  uint64_t texel_alignment;     // of a `t` binding's offset, bytes
  uint32_t matrix_shape_count;  // as the driver lists them; 0 without matrix units
  dure_vulkan_matrix_shape matrix_shapes[DURE_VULKAN_MATRIX_SHAPES_MOST];
  uint32_t workgroup_matrix_count;         // likewise
  uint32_t workgroup_matrix_most;          // of each of M, N and K
  uint32_t workgroup_matrix_shared_bytes;  // of shared memory that the driver takes for them
  dure_vulkan_workgroup_matrix workgroup_matrices[DURE_VULKAN_MATRIX_SHAPES_MOST];
  uint32_t matrix_subgroup_size;  // of kernels that use them (`subgroup:matrix`)
  uint64_t features;              // bit 1 << dure_vulkan_feature: enabled on this device
} dure_vulkan_caps;

// Of a device of this backend.
const dure_vulkan_caps *dure_vulkan_device_caps(const dure_device *device);
bool dure_vulkan_caps_has(const dure_vulkan_caps *caps, dure_vulkan_feature feature);

// Whether dure_kernel_get(device, name, ...) can work: the variant is embedded and the device has what it requires.
bool dure_vulkan_device_has_kernel(const dure_device *device, const char *name);

// Which kernels have shown that they multiply rightly (matmul_selftest.h, attention_selftest.h); kept as long as the
// device.
enum { DURE_VULKAN_MATMUL_TRUST = 32, DURE_VULKAN_ATTENTION_TRUST = 32 };
typedef struct dure_vulkan_trust {
  uint8_t tested[DURE_VULKAN_MATMUL_TRUST], passed[DURE_VULKAN_MATMUL_TRUST];  // by row; a bit a type and orientation
  uint64_t attention_tested[DURE_VULKAN_ATTENTION_TRUST], attention_passed[DURE_VULKAN_ATTENTION_TRUST];
} dure_vulkan_trust;
dure_vulkan_trust *dure_vulkan_device_trust(const dure_device *device);

// The backend's table of ops (runtime/vulkan/ops.c): NULL where there is no kernel for the row.
const dure_backend_op *dure_vulkan_op(dure_device *device, uint32_t op);

// Messages of the validation layers (DURE_VULKAN_VALIDATION=1) since the program started, closed devices included.
uint64_t dure_vulkan_validation_message_count(void);

#endif  // DURE_RUNTIME_VULKAN_VULKAN_DEVICE_H_
