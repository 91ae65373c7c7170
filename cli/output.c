#include "cli/output.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/json_text.h"

json_t *output_json_text(const char *text, size_t length) { return dure_json_text(text, length); }

dure_status output_json(json_t *object) {
  char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a line of output");
  puts(text);
  free(text);
  return output_check();
}

dure_status output_check(void) {
  return fflush(stdout) != 0 || ferror(stdout) ? dure_fail_errno("cannot write to standard output") : NULL;
}
