// Which matrix units are used: drivers advertise some that are wrong or slow, so a table says which are tried at all,
// and each kernel that uses them must first multiply small random matrices rightly on this very device.
#ifndef DURE_RUNTIME_VULKAN_MATMUL_SELFTEST_H_
#define DURE_RUNTIME_VULKAN_MATMUL_SELFTEST_H_

#include "runtime/vulkan/matmul_table.h"

// Whether the table allows this device's matrix units; else *out_reason says why not (a static text). Pure.
// DURE_VULKAN_MATRIX_UNITS=all tries them whatever the table says.
bool dure_vulkan_matrix_units_allowed(const dure_vulkan_caps *caps, const char **out_reason);

// "matrix units: 16x16x16 f16, 16x16x16 bf16; tried when a kernel first needs them", or why they are not; "" where
// there are none.
void dure_vulkan_matrix_units_describe(const dure_vulkan_caps *caps, char *out_text, size_t size);

// Two products of 16-bit matrices, with odd sizes and whole groups of 16 bytes, by a variant for GPUs that fits the
// problem's types and transpositions. Fails with DURE_UNSUPPORTED, naming the first wrong element.
DURE_MUST_CHECK dure_status dure_vulkan_matmul_test(dure_device *device, const dure_vulkan_matmul_variant *variant,
                                                    const dure_vulkan_matmul_problem *problem);

// Whether the variant's kernel for the problem's types and transpositions has multiplied rightly: tried once in the
// device's life, on a stream of its own, then remembered. A failure is logged and the caller takes another variant.
// Products of f16 or bf16 are compared with the host's in double: each sum must be within 1e-5 of the sum of its terms'
// magnitudes, which sums kept in 16 bits are not.
bool dure_vulkan_matmul_is_trusted(dure_device *device, const dure_vulkan_matmul_variant *variant,
                                   const dure_vulkan_matmul_problem *problem);

#endif  // DURE_RUNTIME_VULKAN_MATMUL_SELFTEST_H_
