// What the attention kernels for subgroups of 4 lanes share.
//
// A lane owns OWN rows of one head, whole: no sum ever crosses lanes. The other side's rows come 4 at a time, one fetched by
// each lane, and go round by swaps, each of which is one instruction (a broadcast is thirty). Lane l's own row is part 0, that
// of lane l ^ j part j: every lane takes the 4 rows in an order of its own.
//
//              part:   0   1   2   3
//   lane 0 computes    A   B   C   D     of the rows that lane 0 fetched (A), lane 1 (B) ...
//   lane 1             B   A   D   C
//   lane 2             C   D   A   B
//   lane 3             D   C   B   A
//
// SwiftShader makes of each scalar that is loaded or stored at a place known at run time a gather or scatter of 4 lanes: 70
// instructions and 8 branches. Arrays of an invocation at constant places are plain memory, even when other code indexes them
// by a loop. So a head's columns are unrolled where products are summed; own rows are fetched, and sums stored, by loops.
#ifndef ATTENTION_QUAD_GLSL
#define ATTENTION_QUAD_GLSL

#define LANES 4
#define PARTS (HEAD / 4)  // fours of a row
layout(local_size_x = LANES) in;

vec4 part_of(vec4 mine, int j) {
  return j == 0   ? mine
         : j == 1 ? subgroupQuadSwapHorizontal(mine)
         : j == 2 ? subgroupQuadSwapVertical(mine)
                  : subgroupQuadSwapDiagonal(mine);
}
#define OTHERS_ORDER (uvec4(gl_SubgroupInvocationID) ^ uvec4(0, 1, 2, 3))

uvec4 all_bits(bvec4 condition) { return mix(uvec4(0), uvec4(0xffffffffu), condition); }

// sum += own . other, in one statement: nothing stays in a register for longer.
#define ADD_DOT(sum, own, other) \
  sum = sum + (own).x * (other).x + (own).y * (other).y + (own).z * (other).z + (own).w * (other).w;

// sums = sums * factor + weights[first + j] others[j] of the pairs that see each other. The other products are left out, rather
// than given weight 0: NaN must not cross.
#define ADD_SUMS(sums, factor, weights, masks, first, others)                                                   \
  {                                                                                                             \
    vec4 total = sums;                                                                                          \
    UNROLL for (int e = 0; e < 4; e++) {                                                                        \
      float element = total[e] * (factor);                                                                      \
      UNROLL for (int j = 0; j < LANES; j++)                                                                    \
        element += uintBitsToFloat(floatBitsToUint(weights[(first) + j] * others[j][e]) & masks[(first) + j]);  \
      total[e] = element;                                                                                       \
    }                                                                                                           \
    sums = total;                                                                                               \
  }

#endif
