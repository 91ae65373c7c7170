#include "cli/op_name.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "runtime/ops.h"

dure_status op_name_check(const char *name) {
  const char *names[DURE_OP_COUNT];
  char all[1024] = "";
  for (size_t i = 0; i < DURE_OP_COUNT; i++) {
    names[i] = dure_op_get((dure_op)i)->name;
    if (name == NULL || strcmp(name, names[i]) == 0) return NULL;
    size_t used = strlen(all);
    snprintf(all + used, sizeof(all) - used, "%s%s", i == 0 ? "" : ", ", names[i]);
  }
  const char *nearest = command_nearest(name, names, DURE_OP_COUNT);
  if (nearest != NULL) return dure_fail(DURE_NOT_FOUND, "there is no op '%s'; did you mean '%s'?", name, nearest);
  return dure_fail(DURE_NOT_FOUND, "there is no op '%s'; expected one of %s", name, all);
}
