#include "cuda/tensor_map.h"

#include <string.h>

// Values of CUtensorMapDataType and its like, and the type of cuTensorMapEncodeTiled, so that the driver's header is
// not needed.
enum { TYPE_UINT16 = 1, INTERLEAVE_NONE = 0, SWIZZLE_128B = 3, PROMOTION_L2_256B = 3, FILL_NONE = 0 };
typedef int (*encode_tiled)(void *map, int type, uint32_t rank, void *address, const uint64_t *sizes,
                            const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides,
                            int interleave, int swizzle, int promotion, int fill);

#ifndef DURE_CUDA_EMULATION
#include <cuda.h>
_Static_assert((int)TYPE_UINT16 == (int)CU_TENSOR_MAP_DATA_TYPE_UINT16, "the driver's header");
_Static_assert((int)INTERLEAVE_NONE == (int)CU_TENSOR_MAP_INTERLEAVE_NONE, "the driver's header");
_Static_assert((int)SWIZZLE_128B == (int)CU_TENSOR_MAP_SWIZZLE_128B, "the driver's header");
_Static_assert((int)PROMOTION_L2_256B == (int)CU_TENSOR_MAP_L2_PROMOTION_L2_256B, "the driver's header");
_Static_assert((int)FILL_NONE == (int)CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE, "the driver's header");
_Static_assert(sizeof(CUtensorMap) == 128, "the driver's header");
#endif

// Heads before positions: in the usual layout the strides then grow, as the driver's manual would have them.
bool cuda_tensor_map_encode(cuda_device *device, const void *address, uint64_t B, uint64_t T, uint64_t heads,
                            uint64_t D, uint64_t t_stride, uint64_t h_stride, uint32_t rows, void *out_map) {
  enum { ELEMENT = 2, COLUMNS = 64 };
  memset(out_map, 0, 128);
  if (device->encode_tensor_map == NULL) return false;
  encode_tiled encode = NULL;
  memcpy(&encode, &device->encode_tensor_map, sizeof(encode));
  const uint64_t sizes[4] = {D, heads, T, B};
  const uint64_t strides[3] = {h_stride * ELEMENT, t_stride * ELEMENT, T * t_stride * ELEMENT};
  const uint32_t box[4] = {COLUMNS, 1, rows, 1}, element_strides[4] = {1, 1, 1, 1};
  void *first = NULL;
  memcpy(&first, &address, sizeof(first));
  return encode(out_map, TYPE_UINT16, 4, first, sizes, strides, box, element_strides, INTERLEAVE_NONE, SWIZZLE_128B,
                PROMOTION_L2_256B, FILL_NONE) == 0;
}
