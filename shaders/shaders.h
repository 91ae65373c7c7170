// The embedded kernels: one row for each line of shaders/variants/*.txt (shaders/README.md).
#ifndef DURE_SHADERS_SHADERS_H_
#define DURE_SHADERS_SHADERS_H_

#include <stddef.h>
#include <stdint.h>

typedef struct dure_shader {
  const char *name;
  const uint32_t *words;  // SPIR-V; NULL when the shader compiler of this build could not compile the variant
  const uint32_t *bytes;  // its size
  const char *kinds;      // one letter a binding: r storage read, w storage written (or both), t uniform texel rgba32f
  uint32_t push_bytes;    // of push constants, at most 128
  const char *requirements;  // "fp16,invocations:256": what the device must have; "" for nothing
} dure_shader;

extern const dure_shader dure_shaders[];  // followed by a row whose name is NULL
extern const size_t dure_shader_count;

#endif  // DURE_SHADERS_SHADERS_H_
