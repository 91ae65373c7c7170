// A chat template as an attacker writes it: parsed, and rendered for a conversation within small limits.
#include <jansson.h>
#include <stdlib.h>

#include "data/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"\\u00e9 1\"},"
    " {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\":"
    " {\"x\": [1, 2.5, true]}}}]}], \"tools\": [{\"function\": {\"name\": \"f\"}}], \"add_generation_prompt\": true,"
    " \"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static json_t *variables = NULL;
  const dure_template_limits limits = {.steps = 20000, .memory = 1 << 20, .output = 1 << 16};
  dure_template *parsed = NULL;
  char *text = NULL;
  size_t length;
  if (variables == NULL) variables = json_loads(conversation, 0, NULL);
  dure_status_free(dure_template_parse("fuzz", (const char *)data, size, &parsed));
  if (parsed != NULL) dure_status_free(dure_template_render(parsed, variables, 0, &limits, &text, &length));
  free(text);
  dure_template_close(parsed);
  return 0;
}
