// A row of floats that may begin anywhere, read by whole vec4s: a few floats before the first aligned four (head), aligned
// fours (body), a few floats after the last (tail). Positions count from the start of the binding.
//
// With ROW_IS_ALIGNED constant the head and tail disappear.
#ifndef ROW_GLSL
#define ROW_GLSL

struct Row {
  uint begin, head_end;         // floats
  uint body_begin, body_end;    // vec4s
  uint tail_begin, end;         // floats
};

Row row_split(uint begin, uint count, bool is_aligned) {
  Row row;
  row.begin = begin;
  row.end = begin + count;
  row.body_begin = is_aligned ? begin / 4 : (begin + 3) / 4;
  row.body_end = row.end / 4;
  row.head_end = is_aligned ? begin : min(row.body_begin * 4, row.end);
  row.tail_begin = is_aligned ? row.end : max(row.body_end * 4, row.head_end);
  return row;
}

#endif
