// Where a workgroup of the matmul kernels for GPUs works.
//
// Workgroups count x over the tiles of c's columns, y over those of its rows, z over batches and, within a batch, over
// chunks of CHUNK values of k. With more than one chunk c is a workspace of f32, [batch x chunks, M, N], whose chunks
// matmul_sum_chunks.comp adds in order; CHUNK depends on the shape alone, and so do the sums.
#ifndef MATMUL_PLACE_GLSL
#define MATMUL_PLACE_GLSL

layout(constant_id = 16) const uint CHUNK = 0xffffffffu;  // values of k of one workgroup

struct matmul_place {
  uint row, column;  // the tile's first
  uint a, b;         // element 0 of the batch
  uint k, k_end;
};

// Workgroups that run together take BAND rows of tiles, column by column: what they read of b stays in the cache while
// BAND tiles of a use it.
const uint BAND = 8;

matmul_place matmul_place_of(uint tile_rows, uint tile_columns) {
  const uint across = gl_NumWorkGroups.x, down = gl_NumWorkGroups.y;
  const uint index = gl_WorkGroupID.y * across + gl_WorkGroupID.x;
  const uint first = index / (BAND * across) * BAND, height = min(BAND, down - first), within = index - first * across;
  const uint chunks = CHUNK < K ? (K + CHUNK - 1) / CHUNK : 1;
  matmul_place place;
  place.row = (first + within % height) * tile_rows;
  place.column = within / height * tile_columns;
  place.a = a_offset + gl_WorkGroupID.z / chunks * a_batch;
  place.b = b_offset + gl_WorkGroupID.z / chunks * b_batch;
  place.k = chunks > 1 ? gl_WorkGroupID.z % chunks * CHUNK : 0;
  place.k_end = chunks > 1 ? min(place.k + CHUNK, K) : K;
  return place;
}

#endif
