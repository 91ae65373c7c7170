// embedding, embedding_gradient.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/embedding.cuh"
#include "cuda/kernels/embedding_gradient.cuh"
#include "cuda/kernels/embedding_gradient_pieces.cuh"
#include "cuda/kernels/embedding_sort.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

template <typename T>
static dure_status record_embedding_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *table = &call->operands[0], *indices = &call->operands[1], *y = &call->operands[2];
  const dure_operand *const operands[] = {table, y};
  const dure_embedding_attributes *attributes = &call->attributes.embedding;
  embedding_arguments<T> arguments;
  arguments.table = cuda_address<T>(table);
  arguments.indices = cuda_address<uint32_t>(indices);
  arguments.y = cuda_address<T>(y);
  arguments.rows = dure_operand_count(indices);
  arguments.columns = cuda_last_dimension(table);
  arguments.first_row = attributes->first_row;
  arguments.table_rows = (uint32_t)dure_operand_rows(table);
  arguments.row_count = attributes->row_count != 0 ? attributes->row_count : arguments.table_rows;
  arguments.accumulate = cuda_accumulates(call, 2);
  const uint32_t run = row_run_of<T>(operands, 2, arguments.columns);
  const row_launch launch = row_launch_of(arguments.rows, arguments.columns, run);
  arguments.runs = launch.runs;
  ROW_RECORD(recording, embedding_kernel, T, run, launch, arguments);
}

static dure_status record_embedding(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_embedding_of<T>(recording, call));
  return NULL;
}

// ---- gradient ----------------------------------------------------------------------------------------------------
//
// Positions are sorted by index, `most` at a time; pieces of the sorted list are summed side by side. The workspace:
//   keys [tiles, EMBEDDING_TILE] words, entries [most] pairs of words, partials [pieces, 2, columns] f32

enum { POSITIONS_MOST = 128 * 1024, PARTIAL_BYTES_MOST = 64 * 1024 * 1024 };

struct gradient_layout {
  uint64_t positions, columns, most, pieces;  // pieces of the most
  uint64_t entries_begin, partials_begin, bytes;
};

static uint64_t align_up(uint64_t bytes) { return cuda_ceil_divide(bytes, 256) * 256; }

static gradient_layout gradient_layout_of(const dure_op_call *call) {
  gradient_layout l;
  l.positions = dure_operand_count(&call->operands[0]);
  l.columns = cuda_last_dimension(&call->operands[2]);
  l.most = (uint64_t)PARTIAL_BYTES_MOST / (8 * l.columns) * EMBEDDING_PIECE / EMBEDDING_TILE * EMBEDDING_TILE;
  if (l.most < EMBEDDING_TILE) l.most = EMBEDDING_TILE;
  if (l.most > POSITIONS_MOST) l.most = POSITIONS_MOST;
  if (l.most > l.positions) l.most = l.positions;
  l.pieces = cuda_ceil_divide(l.most, EMBEDDING_PIECE);
  const uint64_t tiles = cuda_ceil_divide(l.most, EMBEDDING_TILE);
  l.entries_begin = align_up(tiles > 1 ? tiles * EMBEDDING_TILE * sizeof(uint32_t) : 0);
  l.partials_begin = l.entries_begin + align_up(l.most * sizeof(embedding_entry));
  l.bytes = l.partials_begin + 2 * l.pieces * l.columns * sizeof(float);
  return l;
}

static uint64_t embedding_gradient_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  return gradient_layout_of(call).bytes;
}

static dure_status record_sort(dure_recording *recording, const embedding_sort_arguments &arguments) {
  const uint32_t tiles = (uint32_t)cuda_ceil_divide(arguments.count, EMBEDDING_TILE);
  DURE_TRY(cuda_record(recording, embedding_sort_kernel, tiles, EMBEDDING_SORT_THREADS, 0, arguments));
  if (tiles == 1) return NULL;
  return cuda_record(recording, embedding_merge_kernel, tiles * (EMBEDDING_TILE / EMBEDDING_MERGE_THREADS),
                     EMBEDDING_MERGE_THREADS, 0, arguments);
}

template <typename T, typename U, int N>
static dure_status record_sums(dure_recording *recording, const embedding_gradient_arguments<T, U> &arguments) {
  uint32_t across = 1;  // runs of a block
  while (across < WARP && across < arguments.runs) across *= 2;
  if (arguments.runs > WARP) across = (uint32_t)cuda_ceil_divide(arguments.runs, WARP) * WARP;
  if (across > EMBEDDING_THREADS) across = EMBEDDING_THREADS;
  const uint32_t along = across <= WARP ? EMBEDDING_THREADS / across : 1;  // pieces of a block
  DURE_TRY(cuda_record(
      recording, embedding_gradient_kernel<T, U, N>,
      dim3((uint32_t)cuda_ceil_divide(arguments.pieces, along), (uint32_t)cuda_ceil_divide(arguments.runs, across)),
      dim3(across, along), 0, arguments));
  if (arguments.pieces == 1) return NULL;
  return cuda_record(recording, embedding_gradient_pieces_kernel<T, U, N>,
                     dim3(arguments.pieces, (uint32_t)cuda_ceil_divide(arguments.runs, WARP)),
                     dim3(WARP, EMBEDDING_THREADS / WARP), 0, arguments);
}

// Positions [first, first + count) into rows [first_row, first_row + row_count) of dtable.
template <typename T, typename U>
static dure_status record_part(dure_recording *recording, const dure_op_call *call, const gradient_layout *l,
                               uint64_t first, uint64_t count, uint64_t first_row, uint64_t row_count) {
  const dure_operand *dy = &call->operands[1], *dtable = &call->operands[2];
  const dure_operand *const operands[] = {dy, dtable};
  unsigned char *workspace = cuda_address<unsigned char>(&call->workspace);
  embedding_sort_arguments sort;
  sort.indices = cuda_address<uint32_t>(&call->operands[0]) + first;
  sort.count = (uint32_t)count;
  sort.first_row = call->attributes.embedding.first_row + (uint32_t)first_row;
  sort.table_rows = (uint32_t)row_count;
  sort.keys = reinterpret_cast<uint32_t *>(workspace);
  sort.entries = reinterpret_cast<embedding_entry *>(workspace + l->entries_begin);
  DURE_TRY(record_sort(recording, sort));

  embedding_gradient_arguments<T, U> sums;
  sums.entries = sort.entries;
  sums.dy = cuda_address<T>(dy) + first * l->columns;
  sums.dtable = cuda_address<U>(dtable) + first_row * l->columns;
  sums.partials = reinterpret_cast<float *>(workspace + l->partials_begin);
  sums.columns = l->columns;
  sums.count = sort.count;
  sums.pieces = (uint32_t)cuda_ceil_divide(count, EMBEDDING_PIECE);
  sums.table_rows = sort.table_rows;
  sums.accumulate = first > 0 || cuda_accumulates(call, 2);
  const uint32_t run = elements_run_of_rows(operands, 2, l->columns) >= 4 ? 4 : 1;
  sums.runs = (uint32_t)(l->columns / run);
  return run == 4 ? record_sums<T, U, 4>(recording, sums) : record_sums<T, U, 1>(recording, sums);
}

template <typename T, typename U>
static dure_status record_gradient(dure_recording *recording, const dure_op_call *call) {
  const gradient_layout l = gradient_layout_of(call);
  const uint64_t rows = dure_operand_rows(&call->operands[2]), rows_most = EMBEDDING_ROWS_MOST;
  for (uint64_t first_row = 0; first_row < rows; first_row += rows_most) {
    const uint64_t row_count = rows - first_row < rows_most ? rows - first_row : rows_most;
    for (uint64_t first = 0; first < l.positions; first += l.most) {
      const uint64_t count = l.positions - first < l.most ? l.positions - first : l.most;
      DURE_TRY((record_part<T, U>(recording, call, &l, first, count, first_row, row_count)));
    }
  }
  return NULL;
}

static dure_status record_embedding_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dtable = &call->operands[2];
  if (!cuda_accumulates(call, 2)) {  // rows whose index does not occur
    dure_op_call zeros = {};
    zeros.op = DURE_OP_fill;
    zeros.operands[0] = *dtable;
    DURE_TRY(dure_cuda_op_fill.record(device, recording, &zeros));
  }
  CUDA_WITH_STORAGE(call->operands[1].dtype, T,
                    CUDA_WITH_STORAGE(dtable->dtype, U, return record_gradient<T, U>(recording, call)));
  return NULL;
}

const dure_backend_op dure_cuda_op_embedding = {record_embedding, NULL, true};
const dure_backend_op dure_cuda_op_embedding_gradient = {record_embedding_gradient, embedding_gradient_workspace, true};
