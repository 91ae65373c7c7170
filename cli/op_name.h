// Names of ops as options take them.
#ifndef DURE_CLI_OP_NAME_H_
#define DURE_CLI_OP_NAME_H_

#include "runtime/status.h"

// DURE_NOT_FOUND, with the nearest name, when `name` is not an op's; NULL stands for all ops and is fine.
DURE_MUST_CHECK dure_status op_name_check(const char *name);

#endif  // DURE_CLI_OP_NAME_H_
