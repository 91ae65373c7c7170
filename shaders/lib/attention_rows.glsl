// Rows of strided operands for the attention kernels that take any type, alignment and head size. Need the constants TYPE and
// IN_FOURS, and value.glsl's tensors with WIDTH 4.
#ifndef ATTENTION_ROWS_GLSL
#define ATTENTION_ROWS_GLSL

// FETCH(row, d): elements d .. d + 3 of a row, zeros beyond D. LOAD is load_<tensor>, `at` the row's first element.
#define DEFINE_FETCH(FETCH, LOAD)                                              \
  vec4 FETCH(uint at, uint d) {                                                \
    vec4 values = vec4(0);                                                     \
    if (IN_FOURS) {                                                            \
      if (d < D) values = LOAD##_four((at + d) / 4);                           \
    } else {                                                                   \
      for (uint e = 0; e < 4; e++)                                             \
        if (d + e < D) values[e] = LOAD##_element(at + d + e);                 \
    }                                                                          \
    return values;                                                             \
  }

// Stores 4 columns of an output's row that begins at element `at`.
#define DEFINE_STORE(STORE_COLUMNS, STORE)                                     \
  void STORE_COLUMNS(uint at, uint d, vec4 values) {                           \
    if (IN_FOURS) {                                                            \
      if (d < D) STORE##_four((at + d) / 4, values);                           \
    } else {                                                                   \
      for (uint e = 0; e < 4; e++)                                             \
        if (d + e < D) STORE##_element(at + d + e, values[e]);                 \
    }                                                                          \
  }

#endif
