// dure data dedup: JSONL to JSONL without what repeats.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_semantic.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/dedup.h"
#include "runtime/os.h"

enum { MOST_BENCHMARKS = 256 };

typedef struct dedup_arguments {
  dure_dedup_options options;
  dure_minhash_options near;
  const char *format, *shingle, *benchmarks, *report, *recipe;
  int64_t lines, paragraphs, permutations, bands, rows, seed, ngram, threads, rank, ranks;
  bool is_near, is_uncentred, as_json;
  const char *semantic, *device, *dtype;  // `semantic` a model's directory, or NULL
  double semantic_threshold;
  int64_t semantic_clusters, semantic_context;
  semantic_model model;
  const char *benchmark_paths[MOST_BENCHMARKS];
} dedup_arguments;

// ---- the summary ----

// What share of pairs of each similarity the bands will find.
static void print_curve(const dure_dedup_summary *summary) {
  fprintf(stderr, "near duplicates: %" PRIu64 " bands of %" PRIu64 " rows; expected share of pairs found:\n",
          summary->bands, summary->rows);
  static const double similarities[] = {0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95};
  enum { COUNT = sizeof(similarities) / sizeof(similarities[0]) };
  fprintf(stderr, "  similarity ");
  for (int i = 0; i < COUNT; i++) fprintf(stderr, " %6.2f", similarities[i]);
  fprintf(stderr, "\n  found      ");
  for (int i = 0; i < COUNT; i++) {
    fprintf(stderr, " %6.4f",
            dure_minhash_probability(similarities[i], (uint32_t)summary->bands, (uint32_t)summary->rows));
  }
  fprintf(stderr, "\n");
}

static json_t *summary_json(const dure_dedup_summary *summary, double seconds) {
  const data_count rows[] = {
      {"read", summary->read.documents},
      {"kept", summary->kept},
      {"duplicates", summary->duplicates},
      {"near_duplicates", summary->near_duplicates},
      {"semantic_duplicates", summary->semantic_duplicates},
      {"emptied", summary->emptied},
      {"contaminated", summary->contaminated},
      {"contaminated_dropped", summary->contaminated_out},
      {"too_large", summary->read.too_large},
      {"lines_cut", summary->lines_cut},
      {"paragraphs_cut", summary->paragraphs_cut},
      {"text_bytes", summary->text_bytes},
      {"duplicate_bytes", summary->duplicate_bytes},
      {"bands", summary->bands},
      {"rows", summary->rows},
  };
  json_t *object = data_counts_json(rows, sizeof(rows) / sizeof(rows[0]));
  json_object_set_new(object, "seconds", json_real(seconds));
  if (summary->bands == 0) return object;
  json_t *curve = json_array();
  for (int i = 1; i <= 20; i++) {
    const double found = dure_minhash_probability(i / 20.0, (uint32_t)summary->bands, (uint32_t)summary->rows);
    json_array_append_new(curve, json_pack("[f, f]", i / 20.0, found));
  }
  json_object_set_new(object, "curve", curve);
  return object;
}

static void print_summary(const dure_dedup_summary *summary, double seconds) {
  if (summary->is_resumed) fprintf(stderr, "went on with the work of an earlier process\n");
  fprintf(stderr, "%" PRIu64 " documents: %" PRIu64 " kept, %" PRIu64 " duplicates dropped", summary->read.documents,
          summary->kept, summary->duplicates);
  if (summary->bands > 0) fprintf(stderr, ", %" PRIu64 " near duplicates dropped", summary->near_duplicates);
  if (summary->semantic_duplicates > 0) {
    fprintf(stderr, ", %" PRIu64 " semantic duplicates dropped", summary->semantic_duplicates);
  }
  if (summary->paragraphs_cut > 0) fprintf(stderr, ", %" PRIu64 " repeated paragraphs cut", summary->paragraphs_cut);
  if (summary->lines_cut > 0) fprintf(stderr, ", %" PRIu64 " repeated lines cut", summary->lines_cut);
  if (summary->emptied > 0) fprintf(stderr, ", %" PRIu64 " documents left empty", summary->emptied);
  if (summary->contaminated > 0) {
    fprintf(stderr, ", %" PRIu64 " overlapped with benchmarks (%" PRIu64 " dropped, of the others parts)",
            summary->contaminated, summary->contaminated_out);
  }
  fprintf(stderr, "; %.2f MB of text kept, %.2f MB dropped in %.1f s\n", (double)summary->text_bytes * 1e-6,
          (double)summary->duplicate_bytes * 1e-6, seconds);
}

// ---- options ----

static bool complain(const char *command, const char *message) {
  fprintf(stderr, "dure %s: %s\n", command, message);
  return false;
}

// "words:5" or "characters:9".
static bool parse_shingle(const char *command, const char *text, dure_minhash_options *near) {
  static const char *const kinds[] = {"words:", "characters:"};
  for (int i = 0; i < 2; i++) {
    const size_t length = strlen(kinds[i]);
    char *end = NULL;
    if (strncmp(text, kinds[i], length) != 0) continue;
    const long width = strtol(text + length, &end, 10);
    if (end == text + length || *end != '\0' || width < 1 || width > 1000) break;
    near->shingle = i == 0 ? DURE_SHINGLE_WORDS : DURE_SHINGLE_CHARACTERS;
    near->width = (uint32_t)width;
    return true;
  }
  return complain(command, "--shingle is words:N or characters:N, such as words:5");
}

// Which rank of how many, as the launcher says it: Open MPI's and PMI's (MPICH, Slurm) variables.
static void find_ranks(dedup_arguments *arguments) {
  static const char *const names[][2] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && arguments->ranks == 0; i++) {
    const char *rank = getenv(names[i][0]), *ranks = getenv(names[i][1]);
    if (rank == NULL || ranks == NULL) continue;
    arguments->rank = strtoll(rank, NULL, 10);
    arguments->ranks = strtoll(ranks, NULL, 10);
  }
}

static bool check_arguments(const char *command, dedup_arguments *arguments) {
  dure_dedup_options *options = &arguments->options;
  const int64_t counts[] = {arguments->lines,           arguments->paragraphs, arguments->permutations,
                            arguments->bands,           arguments->rows,       arguments->ngram,
                            arguments->threads,         arguments->rank,       arguments->semantic_clusters,
                            arguments->semantic_context};
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
    if (counts[i] < 0 || counts[i] > INT32_MAX) return complain(command, "counts must be whole numbers, 0 or more");
  }
  find_ranks(arguments);
  if (arguments->ranks < 0 || arguments->ranks > 65536 ||
      (arguments->ranks > 0 && arguments->rank >= arguments->ranks)) {
    return complain(command, "--rank must be below --ranks");
  }
  if (arguments->as_json && strcmp(options->output, "-") == 0) {
    return complain(command, "--json and -o - would both write to standard output");
  }
  if (arguments->ranks > 1 && strcmp(options->output, "-") == 0 && options->scratch == NULL) {
    return complain(command, "several ranks need a file to write to, or a --scratch directory that they share");
  }
  if (!(arguments->semantic_threshold > 0 && arguments->semantic_threshold <= 1)) {
    return complain(command, "--semantic-threshold is a cosine, above 0 and at most 1");
  }
  if (!parse_shingle(command, arguments->shingle, &arguments->near)) return false;
  arguments->near.permutations = (uint32_t)arguments->permutations;
  arguments->near.bands = (uint32_t)arguments->bands;
  arguments->near.rows = (uint32_t)arguments->rows;
  arguments->near.seed = (uint64_t)arguments->seed;
  options->near = arguments->is_near || options->pairs != NULL ? &arguments->near : NULL;
  options->line_limit = (uint64_t)arguments->lines;
  options->paragraph_limit = (uint64_t)arguments->paragraphs;
  options->overlap_width = (uint32_t)arguments->ngram;
  options->threads = (uint32_t)arguments->threads;
  options->ranks = (dure_ranks){(uint32_t)arguments->rank, arguments->ranks > 0 ? (uint32_t)arguments->ranks : 1};
  return data_format_parse(command, arguments->format, &options->format);
}

static dure_status open_semantic(dedup_arguments *arguments) {
  DURE_TRY(semantic_model_open(arguments->semantic, arguments->device, arguments->dtype,
                               (uint32_t)arguments->semantic_context, &arguments->model));
  dure_semantic_options *semantic = &arguments->model.options;
  semantic->threshold = arguments->semantic_threshold;
  semantic->clusters = (uint32_t)arguments->semantic_clusters;
  semantic->is_centred = !arguments->is_uncentred;
  arguments->options.semantic = semantic;
  return NULL;
}

static dure_status deduplicate(const char *const *inputs, size_t count, dedup_arguments *arguments,
                               dure_dedup_summary *out_summary) {
  dure_dedup_options *options = &arguments->options;
  data_timer timer = data_timer_start(inputs, count);
  char *list = arguments->benchmarks != NULL ? strdup(arguments->benchmarks) : NULL;
  options->benchmarks = arguments->benchmark_paths;
  options->benchmark_count = list != NULL ? data_list_cut(list, arguments->benchmark_paths, MOST_BENCHMARKS) : 0;
  dure_status status = arguments->report != NULL ? dure_step_report_create("dedup", &options->report) : NULL;
  dure_os_catch_interrupts();
  options->progress = data_step_progress;
  options->progress_context = &timer;
  if (status == NULL && arguments->semantic != NULL) status = open_semantic(arguments);
  if (status == NULL) status = dure_dedup(inputs, count, options, out_summary);
  progress_clear();
  semantic_model_close(&arguments->model);
  const bool is_whole = status == NULL && options->ranks.rank == 0;
  if (is_whole) {
    json_t *counts = summary_json(out_summary, data_timer_seconds(&timer));
    print_summary(out_summary, data_timer_seconds(&timer));
    if (out_summary->bands > 0) print_curve(out_summary);
    if (options->report != NULL) {
      json_t *more = json_pack("{s:O}", "summary", counts);
      status = dure_step_report_write(options->report, more, arguments->report);
      json_decref(more);
    }
    if (arguments->as_json) data_json_print(json_incref(counts));
    json_decref(counts);
  }
  dure_step_report_destroy(options->report);
  free(list);
  return status;
}

int data_dedup(int argc, char **argv) {
  dedup_arguments arguments = {.format = "auto",
                               .shingle = "words:5",
                               .permutations = 128,
                               .seed = 1,
                               .ngram = 13,
                               .device = "auto",
                               .dtype = "auto",
                               .semantic_threshold = 0.95,
                               .near = {.threshold = 0.8},
                               .options = {.document_limit = DURE_DOCUMENT_SIZE_LIMIT}};
  dure_dedup_options *options = &arguments.options;
  const option_row rows[] = {
      {"o", OPTION_TEXT, &options->output, "FILE", "where the JSONL goes; - for standard output"},
      {"near", OPTION_FLAG, &arguments.is_near, NULL,
       "also drop near duplicates: MinHash and locality-sensitive hashing"},
      {"threshold", OPTION_NUMBER, &arguments.near.threshold, "S",
       "similarity (Jaccard's) that bands and rows are chosen for (default 0.8)"},
      {"shingle", OPTION_TEXT, &arguments.shingle, "KIND:N", "words:N or characters:N (default words:5)"},
      {"permutations", OPTION_INTEGER, &arguments.permutations, "N", "at most so many are used (default 128)"},
      {"bands", OPTION_INTEGER, &arguments.bands, "B", "instead of choosing by the threshold, with --rows"},
      {"rows", OPTION_INTEGER, &arguments.rows, "R", "of a band"},
      {"seed", OPTION_INTEGER, &arguments.seed, "N", "of the permutations (default 1)"},
      {"pairs", OPTION_TEXT, &options->pairs, "FILE", "write all pairs of near duplicates, by document number"},
      {"semantic", OPTION_TEXT, &arguments.semantic, "MODEL",
       "also drop what says the same in other words, by this model's vectors of texts"},
      {"semantic-threshold", OPTION_NUMBER, &arguments.semantic_threshold, "S", "cosine (default 0.95)"},
      {"semantic-clusters", OPTION_INTEGER, &arguments.semantic_clusters, "K",
       "documents are compared within clusters (default: one for each 1024)"},
      {"semantic-uncentred", OPTION_FLAG, &arguments.is_uncentred, NULL,
       "do not take their mean off the vectors first"},
      {"semantic-context", OPTION_INTEGER, &arguments.semantic_context, "N", "tokens looked at (default 512)"},
      {"device", OPTION_TEXT, &arguments.device, "D", "of the model: auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &arguments.dtype, "TYPE", "of the model's weights: auto, f32, bf16 or f16 (auto)"},
      {"lines", OPTION_INTEGER, &arguments.lines, "N",
       "also cut a line of text (16 bytes or more) after it has occurred N times"},
      {"paragraphs", OPTION_INTEGER, &arguments.paragraphs, "N", "likewise paragraphs, separated by blank lines"},
      {"decontaminate", OPTION_TEXT, &arguments.benchmarks, "FILES",
       "cut out what overlaps with these benchmarks (text or JSONL, separated by commas)"},
      {"ngram", OPTION_INTEGER, &arguments.ngram, "N", "words in a row that are an overlap (default 13)"},
      {"memory", OPTION_SIZE, &options->memory, "SIZE", "for sorting; the rest goes to disk (default 512MiB)"},
      {"threads", OPTION_INTEGER, &arguments.threads, "N", "default: one a core; the result is the same"},
      {"scratch", OPTION_TEXT, &options->scratch, "DIR", "directory of the work in progress (default OUT.part)"},
      {"rank", OPTION_INTEGER, &arguments.rank, "I", "this process's part of the work; mpirun sets it"},
      {"ranks", OPTION_INTEGER, &arguments.ranks, "N", "processes that share the work and the scratch directory"},
      {"report", OPTION_TEXT, &arguments.report, "FILE", "counts and examples for 'dure data report'"},
      {"recipe", OPTION_TEXT, &arguments.recipe, "FILE", "YAML with these options; those given here come first"},
      {"format", OPTION_TEXT, &arguments.format, "FORMAT", "auto (by name, then content), text or jsonl"},
      {"max-document", OPTION_SIZE, &options->document_limit, "SIZE", "longest document (default 32MiB)"},
      {"json", OPTION_FLAG, &arguments.as_json, NULL, "print the counts as JSON on standard output"},
  };
  if (!data_recipe_apply(&argc, argv, &argv)) return EXIT_USAGE;
  const command_usage usage = {
      "dure data dedup IN.jsonl... -o OUT.jsonl [options]",
      "Drops documents whose text, white space aside, occurred before; the first occurrence stays as it is. Near\n"
      "duplicates, lines, paragraphs and overlaps with benchmarks go by option. What does not fit memory is sorted on\n"
      "disk; the same command goes on after a crash. Under mpirun the ranks share the work.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure data dedup clean.jsonl --near -o distinct.jsonl",
      1,
      (size_t)argc};
  const char *const *inputs;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &inputs, &count);
  if (status < 0 && options->output == NULL) status = data_output_missing(argv[0], "OUT.jsonl");
  if (status < 0 && !check_arguments(argv[0], &arguments)) status = EXIT_USAGE;
  if (status < 0) {
    dure_dedup_summary summary;
    status = command_finish(argv[0], deduplicate(inputs, count, &arguments, &summary));
  }
  return status;
}
