// For the gradient of an embedding: positions sorted by their index, equal indices in the order of positions.
//
// Tiles of EMBEDDING_TILE positions are sorted side by side, a block each, by a bitonic network (Batcher 1968): two
// keys a thread, exchanged in registers, by shuffles or through shared memory as the distance grows. Keys are the row
// of the table and the place in the tile in one word, so all differ and the network need not be stable. Then every key
// finds its place in the whole: how many keys of each tile come before it, by as many binary searches, eight at a time.
// No atomics, so nothing depends on the order of blocks.
#ifndef DURE_CUDA_KERNELS_EMBEDDING_SORT_CUH_
#define DURE_CUDA_KERNELS_EMBEDDING_SORT_CUH_

#include "cuda/block.cuh"
#include "cuda/record.cuh"

enum {
  EMBEDDING_TILE_BITS = 11,
  EMBEDDING_TILE = 1 << EMBEDDING_TILE_BITS,
  EMBEDDING_SORT_THREADS = EMBEDDING_TILE / 2,
  EMBEDDING_MERGE_THREADS = 256,
  EMBEDDING_SEARCHES = 8,
  EMBEDDING_ROWS_MOST = (1 << (32 - EMBEDDING_TILE_BITS)) - 2,  // that a key can tell apart, and "none of them"
};

struct embedding_entry {
  uint32_t row, position;  // of this part of the table (its row count: not in it); of these positions
};

struct embedding_sort_arguments {
  const uint32_t *indices;  // [count]
  uint32_t count;
  uint32_t first_row, table_rows;  // this part of the table
  uint32_t *keys;                  // [tiles, EMBEDDING_TILE]: sorted within tiles
  embedding_entry *entries;        // [count]: sorted
};

__device__ __forceinline__ embedding_entry embedding_entry_of(uint32_t key, uint32_t tile) {
  return embedding_entry{key >> EMBEDDING_TILE_BITS, tile * EMBEDDING_TILE + key % EMBEDDING_TILE};
}

__device__ __forceinline__ uint32_t embedding_key(const embedding_sort_arguments &a, uint32_t place) {
  const uint64_t position = (uint64_t)blockIdx.x * EMBEDDING_TILE + place;
  if (position >= a.count) return UINT32_MAX;
  const uint32_t row = a.indices[position] - a.first_row;  // wraps around for indices before the first
  return (row < a.table_rows ? row : a.table_rows) << EMBEDDING_TILE_BITS | place;
}

// A single tile is the whole: its entries are the result, and `keys` is not written.
static __global__ void __launch_bounds__(EMBEDDING_SORT_THREADS) embedding_sort_kernel(embedding_sort_arguments a) {
  __shared__ uint2 shared[2 * EMBEDDING_SORT_THREADS];
  const uint32_t t = threadIdx.x;
  uint32_t low = embedding_key(a, 2 * t), high = embedding_key(a, 2 * t + 1), buffer = 0;
  for (uint32_t size = 2; size <= EMBEDDING_TILE; size *= 2) {
    const bool ascends = (2 * t & size) == 0;
    for (uint32_t distance = size / 2; distance >= 2; distance /= 2) {
      uint2 other;
      if (distance >= 2 * WARP) {
        shared[buffer + t] = make_uint2(low, high);
        __syncthreads();
        other = shared[buffer + (t ^ distance / 2)];
        buffer ^= EMBEDDING_SORT_THREADS;  // the next exchange writes where nobody reads any more
      } else {
        other.x = __shfl_xor_sync(0xffffffffu, low, (int)distance / 2);
        other.y = __shfl_xor_sync(0xffffffffu, high, (int)distance / 2);
      }
      const bool keeps_least = ((2 * t & distance) == 0) == ascends;
      low = keeps_least ? min(low, other.x) : max(low, other.x);
      high = keeps_least ? min(high, other.y) : max(high, other.y);
    }
    const uint32_t least = min(low, high), most = max(low, high);
    low = ascends ? least : most;
    high = ascends ? most : least;
  }
  if (gridDim.x > 1) {
    a.keys[(uint64_t)blockIdx.x * EMBEDDING_TILE + 2 * t] = low;
    a.keys[(uint64_t)blockIdx.x * EMBEDDING_TILE + 2 * t + 1] = high;
  } else {
    if (2 * t < a.count) a.entries[2 * t] = embedding_entry_of(low, 0);
    if (2 * t + 1 < a.count) a.entries[2 * t + 1] = embedding_entry_of(high, 0);
  }
}

static __global__ void __launch_bounds__(EMBEDDING_MERGE_THREADS) embedding_merge_kernel(embedding_sort_arguments a) {
  const uint32_t i = blockIdx.x * EMBEDDING_MERGE_THREADS + threadIdx.x;
  const uint32_t tiles = (uint32_t)gridDim.x * EMBEDDING_MERGE_THREADS / EMBEDDING_TILE, tile = i / EMBEDDING_TILE;
  const uint32_t key = a.keys[i], row = key >> EMBEDDING_TILE_BITS;
  if (key == UINT32_MAX) return;  // beyond the positions
  uint32_t place = 0;
  for (uint32_t first = 0; first < tiles; first += EMBEDDING_SEARCHES) {
    uint32_t before[EMBEDDING_SEARCHES], bounds[EMBEDDING_SEARCHES];  // keys below the bound come first
#pragma unroll
    for (uint32_t s = 0; s < EMBEDDING_SEARCHES; s++) {
      before[s] = 0;
      bounds[s] = first + s < tile ? (row + 1) << EMBEDDING_TILE_BITS : row << EMBEDDING_TILE_BITS;
      if (first + s == tile) bounds[s] = key;
      if (first + s >= tiles) bounds[s] = 0;
    }
#pragma unroll 1
    for (uint32_t step = EMBEDDING_TILE / 2; step > 0; step /= 2) {
#pragma unroll
      for (uint32_t s = 0; s < EMBEDDING_SEARCHES; s++) {
        if (first + s < tiles && a.keys[(first + s) * EMBEDDING_TILE + before[s] + step - 1] < bounds[s])
          before[s] += step;
      }
    }
#pragma unroll
    for (uint32_t s = 0; s < EMBEDDING_SEARCHES; s++) {
      if (first + s < tiles && a.keys[(first + s) * EMBEDDING_TILE + before[s]] < bounds[s]) before[s]++;
      place += before[s];
    }
  }
  a.entries[place] = embedding_entry_of(key, tile);
}

#endif  // DURE_CUDA_KERNELS_EMBEDDING_SORT_CUH_
