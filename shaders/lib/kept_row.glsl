// A workgroup's walk along a row of `columns` VALUEs, whose values are kept in registers between passes where they fit.
//
//   KEPT_ROW(values);                                            // in main()
//   FOR_EACH_COLUMN(k, c) { KEEP(values, k, load_x(source + c)); ... }
//   FOR_EACH_COLUMN(k, c) { ... KEPT(values, k, load_x(source + c)) ... }
//
// `values_each` VALUEs an invocation make the whole row; 0: the row is too long, and KEPT reads again.
#ifndef KEPT_ROW_GLSL
#define KEPT_ROW_GLSL

layout(constant_id = 2) const uint values_each = 0;
layout(constant_id = 3) const bool row_is_whole = true;  // values_each values in each invocation, without a remainder

bool keeps_row(uint count) { return count != 0; }

#define KEPT_ROW(NAME) VALUE NAME[values_each + 1]
#define FOR_EACH_COLUMN(k, c)                                                                          \
  for (uint k = 0, c = gl_LocalInvocationIndex; keeps_row(values_each) ? k < values_each : c < columns; \
       k++, c += gl_WorkGroupSize.x)                                                                   \
    if (row_is_whole || c < columns)
#define KEEP(NAME, k, value) \
  if (keeps_row(values_each)) NAME[k] = value
#define KEPT(NAME, k, otherwise) (keeps_row(values_each) ? NAME[k] : otherwise)

#endif
