#include "serve/endpoints.h"

#include <string.h>

const endpoint endpoint_rows[] = {
    {"/", false, true, endpoint_page},
    {"/health", false, true, endpoint_health},
    {"/metrics", false, false, endpoint_metrics},
    {"/v1/models", false, false, endpoint_models},
    {"/v1/models/", false, false, endpoint_model},
    {"/v1/completions", true, false, endpoint_completions},
    {"/v1/chat/completions", true, false, endpoint_chat},
    {"/v1/embeddings", true, false, endpoint_embeddings},
    {"/tokenize", true, false, endpoint_tokenize},
    {"/detokenize", true, false, endpoint_detokenize},
};
const uint32_t endpoint_count = sizeof(endpoint_rows) / sizeof(endpoint_rows[0]);
_Static_assert(sizeof(endpoint_rows) / sizeof(endpoint_rows[0]) < METRIC_ROUTES,
               "each path, and unknown ones, is counted");

const endpoint *endpoint_find(const char *path) {
  for (uint32_t i = 0; i < endpoint_count; i++) {
    const char *own = endpoint_rows[i].path;
    const size_t length = strlen(own);
    const bool has_rest = length > 1 && own[length - 1] == '/';
    if (has_rest ? strncmp(path, own, length) == 0 && path[length] != '\0' : strcmp(path, own) == 0)
      return &endpoint_rows[i];
  }
  return NULL;
}
