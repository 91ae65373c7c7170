// dure convert: a model's files into another layout, type or format.
#include <inttypes.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/output.h"
#include "model/convert.h"

typedef struct convert_options {
  dure_convert_options how;
  bool as_json;
} convert_options;

static dure_status run(const convert_options *options, const char *in, const char *out) {
  dure_convert_summary summary;
  DURE_TRY(dure_convert(in, out, &options->how, &summary));
  if (options->as_json) {
    return output_json(json_pack("{ss sI sI sI sI sI}", "out", out, "tensors", (json_int_t)summary.tensors, "files",
                                 (json_int_t)summary.files, "elements", (json_int_t)summary.elements, "bytes",
                                 (json_int_t)summary.bytes, "kept_f16", (json_int_t)summary.kept));
  }
  fprintf(stderr, "wrote %s: %zu tensors, %" PRIu64 " elements, %.1f MiB in %zu file%s\n", out, summary.tensors,
          summary.elements, (double)summary.bytes / 1048576.0, summary.files, summary.files == 1 ? "" : "s");
  if (summary.kept > 0)
    fprintf(stderr, "%zu matrices have rows that are not whole blocks of that type: they are f16\n", summary.kept);
  return NULL;
}

int command_convert(int argc, char **argv) {
  convert_options options = {.how = {.type = NULL}};
  const option_row rows[] = {
      {"type", OPTION_TEXT, &options.how.type, "TYPE",
       "of matrices: f32, bf16 or f16; for GGUF also q8_0 or q4_0 (each keeps its own)"},
      {"dtype", OPTION_TEXT, &options.how.type, "TYPE", "the same"},
      {"shard-size", OPTION_SIZE, &options.how.shard_size, "SIZE", "of one safetensors file, such as 5GB (one file)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "print what was written as JSON"},
  };
  const command_usage usage = {
      "dure convert IN OUT [options]",
      "Writes a model in another layout, type or format. IN is a Hugging Face directory or a GGUF file; OUT is a GGUF\n"
      "file when its name ends in .gguf, else a new directory. Tokenizer and chat template come along.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure convert RUN/checkpoints/latest model.gguf --type q8_0\n  dure convert model.gguf MODEL --type bf16",
      2,
      2};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  if (status < 0) status = command_refuse(argv[0], run(&options, positional[0], positional[1]));
  return status;
}
