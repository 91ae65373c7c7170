#include "model/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

static bool is_gguf_name(const char *path) {
  const size_t length = strlen(path);
  return length > 5 && strcmp(path + length - 5, ".gguf") == 0;
}

static dure_status check_type(const char *type, bool to_gguf) {
  if (type == NULL) return NULL;
  const dure_gguf_type *found = dure_gguf_type_named(type);
  if (found != NULL && dure_gguf_type_can_pack(found) && (to_gguf || found->quantize == NULL)) return NULL;
  return dure_fail(
      DURE_INVALID_ARGUMENT, "--type must be one of %s; found '%.40s'",
      to_gguf ? "f32, bf16, f16, q8_0, q4_0" : "f32, bf16, f16 (a name that ends in .gguf also takes q8_0, q4_0)",
      type);
}

// The directory may be there when nothing is in it.
static dure_status check_target(const char *in, const char *out, bool to_gguf) {
  if (dure_os_is_file(out) && !to_gguf)
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is a file; name a directory, or a file that ends in .gguf", out);
  if (dure_os_is_same_file(in, out))
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' cannot be both input and output", in);
  if (!dure_os_is_directory(out)) return NULL;
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(out, &names, &count));
  dure_os_names_free(names, count);
  if (count == 0 && !to_gguf) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is a directory %s", out,
                   to_gguf ? "already" : "with files in it; name another");
}

static dure_status convert_aside(const char *in, const char *out, const char *aside, bool to_gguf,
                                 const dure_convert_options *options, dure_convert_summary *summary) {
  DURE_TRY(dure_os_remove_tree(aside));
  if (to_gguf) {
    DURE_TRY(dure_convert_to_gguf(in, aside, options, summary));
  } else {
    DURE_TRY(dure_os_make_directories(aside));
    DURE_TRY(dure_convert_to_directory(in, aside, options, summary));
    DURE_TRY(dure_os_sync_directory(aside));
    DURE_TRY(dure_os_remove_tree(out));  // it is empty
  }
  return dure_os_rename(aside, out);
}

dure_status dure_convert(const char *in, const char *out, const dure_convert_options *options,
                         dure_convert_summary *out_summary) {
  memset(out_summary, 0, sizeof(*out_summary));
  const bool to_gguf = is_gguf_name(out);
  if (!dure_weights_exist(in))
    return dure_fail(DURE_NOT_FOUND, "no model at '%s': expected a directory with model.safetensors, or a GGUF file",
                     in);
  DURE_TRY(check_type(options->type, to_gguf));
  DURE_TRY(check_target(in, out, to_gguf));
  size_t length = strlen(out);
  while (length > 1 && out[length - 1] == '/') length--;
  char *plain = malloc(length + 1), *aside = malloc(length + 8);
  dure_status status = NULL;
  if (plain == NULL || aside == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory converting '%s'", in);
  } else {
    snprintf(plain, length + 1, "%s", out);
    snprintf(aside, length + 8, "%s.part", plain);
    status = convert_aside(in, plain, aside, to_gguf, options, out_summary);
    if (status != NULL) status = dure_status_join(status, dure_os_remove_tree(aside));
  }
  free(plain);
  free(aside);
  return status;
}

dure_status dure_convert_read(const char *directory, const char *name, char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  char *path = dure_os_path_join(directory, name);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", name);
  dure_status status = NULL;
  if (dure_os_is_file(path)) status = dure_os_read_file(path, UINT64_C(1) << 30, out_text, out_length);
  free(path);
  return status;
}

dure_status dure_convert_check_f16(const char *name, const float *values, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    if (isfinite(values[i]) && fabsf(values[i]) >= 65520.0f) {  // what rounds to infinity
      return dure_fail(DURE_UNSUPPORTED, "tensor '%s' holds %g, which f16 cannot hold; use --type bf16 or f32", name,
                       (double)values[i]);
    }
  }
  return NULL;
}
