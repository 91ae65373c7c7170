// What the two kernels of attention by tiles share: the split of the work and the two kinds of product.
//
// A workgroup owns ROWS rows (queries, or keys in the pass for dk and dv) of one head and goes through the other side's rows
// OTHERS at a time. Its invocations stand in ROWS / 4 groups of 16 lanes:
//
//              others (OTHERS / 16 a lane)                        columns of the head (HEAD / 16 a lane, in fours)
//              lane 0   lane 1  ..  lane 15                       lane 0   lane 1  ..  lane 15
//   group 0  [ 4 rows x EACH, in registers ]   weights, shared   [ 4 rows x HEAD / 16, in registers ]
//   group 1  [        scores = own . other ]  ---------------->  [ sums = weights x other           ]
//     ..
//
// The first product stages CHUNK columns of both sides, transposed; the second one STAGED rows of the other side.
#ifndef ATTENTION_TILE_GLSL
#define ATTENTION_TILE_GLSL
#define WIDTH 4
#include "value.glsl"

layout(constant_id = 3) const uint TYPE = 0;
layout(constant_id = 4) const bool IN_FOURS = false;  // rows begin at multiples of 4 elements and D is one
#include "attention_rows.glsl"

#define OTHERS ROWS
#define LANES 16
#define GROUPS (ROWS / 4)
#define THREADS (GROUPS * LANES)
#define EACH (OTHERS / LANES)   // others of a lane: 2 or 4
#define PARTS (HEAD / 64)       // fours of columns of a lane
#define STAGE_QUADS 512         // 8 KiB
#define CHUNK (4 * STAGE_QUADS / (ROWS + OTHERS))
#define STAGED (4 * STAGE_QUADS / HEAD)
layout(local_size_x = THREADS) in;

shared vec4 stage[STAGE_QUADS];
shared vec4 weights[OTHERS * GROUPS];  // of other row j for the 4 rows of a group: [j * GROUPS + group]

// Columns [d0, d0 + CHUNK) of COUNT rows, transposed, from `place` on. AT(r): first element of row r.
#define STAGE_COLUMNS(PLACE, COUNT, FETCH, AT)                                                       \
  for (uint i = gl_LocalInvocationIndex; i < COUNT * CHUNK / 4; i += THREADS) {                     \
    const uint r = i / (CHUNK / 4), d = i % (CHUNK / 4) * 4;                                         \
    const vec4 values = FETCH(AT(r), d0 + d);                                                        \
    UNROLL for (int e = 0; e < 4; e++) stage[(PLACE) + (d + e) * (COUNT / 4) + r / 4][r % 4] = values[e]; \
  }

// products[e][r] += sum over d of own row r times other row e.
#define ADD_PRODUCTS(products, OWN_FETCH, OWN_AT, OTHER_FETCH, OTHER_AT)                              \
  for (uint d0 = 0; d0 < D; d0 += CHUNK) {                                                           \
    barrier();                                                                                       \
    STAGE_COLUMNS(0, ROWS, OWN_FETCH, OWN_AT)                                                        \
    STAGE_COLUMNS(CHUNK * ROWS / 4, OTHERS, OTHER_FETCH, OTHER_AT)                                   \
    barrier();                                                                                       \
    for (uint d = 0; d < CHUNK; d++) {                                                               \
      const vec4 own = stage[d * GROUPS + group];                                                    \
      const vec4 other = stage[CHUNK * ROWS / 4 + d * (OTHERS / 4) + lane * EACH / 4];               \
      UNROLL for (int e = 0; e < EACH; e++) products[e] = fma(own, vec4(other[(lane * EACH + e) % 4]), products[e]); \
    }                                                                                                \
  }

// sums[r][part] += sum over the tile's others j of weights[j] times their rows. Pairs that do not see each other are left out
// of tiles on an edge, rather than given weight 0: NaN must not cross. SEEN(j): bvec4, whether other j and the 4 rows do.
#define ADD_SUMS(sums, FETCH, AT, SEEN)                                                              \
  for (uint j0 = 0; j0 < OTHERS; j0 += STAGED) {                                                     \
    barrier();                                                                                       \
    for (uint i = gl_LocalInvocationIndex; i < STAGE_QUADS; i += THREADS)                            \
      stage[i] = FETCH(AT(j0 + i / (HEAD / 4)), i % (HEAD / 4) * 4);                                 \
    barrier();                                                                                       \
    if (is_edge) {                                                                                   \
      for (uint j = 0; j < STAGED; j++) {                                                            \
        const vec4 weight = weights[(j0 + j) * GROUPS + group];                                      \
        const bvec4 seen = SEEN(j0 + j);                                                             \
        UNROLL for (int part = 0; part < PARTS; part++) {                                            \
          const vec4 other = stage[j * (HEAD / 4) + part * LANES + lane];                            \
          UNROLL for (int r = 0; r < 4; r++) {                                                       \
            if (seen[r]) sums[r][part] = fma(vec4(weight[r]), other, sums[r][part]);                 \
          }                                                                                          \
        }                                                                                            \
      }                                                                                              \
    } else {                                                                                         \
      for (uint j = 0; j < STAGED; j++) {                                                            \
        const vec4 weight = weights[(j0 + j) * GROUPS + group];                                      \
        UNROLL for (int part = 0; part < PARTS; part++) {                                            \
          const vec4 other = stage[j * (HEAD / 4) + part * LANES + lane];                            \
          UNROLL for (int r = 0; r < 4; r++) sums[r][part] = fma(vec4(weight[r]), other, sums[r][part]); \
        }                                                                                            \
      }                                                                                              \
    }                                                                                                \
  }

#endif
