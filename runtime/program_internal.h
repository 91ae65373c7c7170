// The inside of a program, shared by program.c (recording), gradient*.c (backward pass) and compile.c (planning).
#ifndef DURE_RUNTIME_PROGRAM_INTERNAL_H_
#define DURE_RUNTIME_PROGRAM_INTERNAL_H_

#include "runtime/gradient.h"
#include "runtime/program.h"

// A tensor: a whole allocation (root == its own index) or a view into one.
typedef struct program_value {
  uint32_t root;    // index of the value that owns the memory
  uint64_t offset;  // elements from the root's first element
  dure_dtype dtype;
  uint32_t rank;
  uint64_t shape[DURE_MAX_RANK];
  uint64_t stride[DURE_MAX_RANK];
  dure_lifetime lifetime;
  bool is_external;
  void *contents;  // of a constant: its bytes, owned by the program at the root; else NULL
  char label[48];
} program_value;

struct dure_program {
  program_value *values;  // index 0 is the absent tensor
  uint32_t value_count, value_capacity;
  dure_program_call_record *calls;
  uint32_t call_count, call_capacity;
  char **scopes;  // scope 0 is ""
  uint32_t scope_count, scope_capacity;
  uint32_t current_scope;
  uint32_t current_block;
  dure_code failure_code;  // the first failure; message owned
  char *failure_message;
};

// Remembers the first failure; frees the status.
void program_fail(dure_program *program, dure_status status);
bool program_failed(const dure_program *program);
// The operand a tensor describes, without memory (buffer NULL; offset in bytes from its root).
dure_operand program_operand(const dure_program *program, dure_tensor tensor);
// The call with its operands filled in likewise.
dure_op_call program_resolve(const dure_program *program, const dure_program_call_record *call);

#endif  // DURE_RUNTIME_PROGRAM_INTERNAL_H_
