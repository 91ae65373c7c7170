// Mixes documents of several sources: so much of each source and language, stage after stage, shuffled.
//
// The recipe (a JSON value; `data mix` reads it from YAML):
//
//   seed: 1
//   sources: {web: [ko.jsonl, en.jsonl], wiki: wiki.jsonl}     files or directories, text or JSONL
//   stages:
//     - name: main
//       bytes: 2000000000                  or tokens (with a tokenizer), or documents: the stage's size
//       weights: {web: 7, wiki: 3}         parts of it
//       languages: {ko: 1, en: 1}          parts of each language; without it, as they come
//       epochs: {wiki: 4}                  at most so many times the same document
//     - epochs: {wiki: 1.5}                without a size: exactly so often
//
// Of every source and language a stage takes a number of epochs: all its documents so often as there are whole ones,
// and for the rest those whose hash (of seed, stage, source and place) falls below the fraction. A stage with a size
// and weights takes size x weight / weights of a source; with `languages` the size is cut by language first, then by
// the weights of the sources that have any. `epochs` is then a limit, and what it leaves out is not made up for by
// others: the composition says so. Documents of a stage come in an order given by a hash, stages one after the other.
// The result depends on nothing but inputs, recipe and seed. Documents are distributed over files in `OUTPUT.part` that
// fit `memory` each; inputs are read once to count and once for every stage.
#ifndef DURE_DATA_MIX_H_
#define DURE_DATA_MIX_H_

#include <jansson.h>

#include "data/documents.h"
#include "data/language.h"
#include "data/step_report.h"
#include "data/tokenizer.h"

typedef struct dure_mix_options {
  const json_t *recipe;
  const char *output;               // a file
  const dure_tokenizer *tokenizer;  // to count tokens; may be NULL
  const uint64_t *seed;             // instead of the recipe's, if not NULL
  uint32_t threads;                 // 0 for one a core
  uint64_t memory;                  // bytes; 0 for 512 MiB
  uint64_t document_limit;
  dure_step_report *report;                                                 // what is taken is entered; may be NULL
  bool (*progress)(void *progress_context, const dure_progress *progress);  // false stops; may be NULL
  void *progress_context;
} dure_mix_options;

typedef struct dure_mix_amount {
  uint64_t documents, bytes, tokens;  // tokens: 0 without a tokenizer
} dure_mix_amount;

typedef struct dure_mix_row {
  const char *stage, *source;  // of the recipe
  dure_language language;
  dure_mix_amount available, taken;
  double share;   // of the stage, asked for; 0 where only epochs are
  double epochs;  // taken, as planned
} dure_mix_row;

typedef struct dure_mix_summary {
  dure_document_counts read;  // of the counting pass, all sources together
  dure_mix_row *rows;         // stage by stage; only sources and languages that are there
  size_t count;
} dure_mix_summary;

DURE_MUST_CHECK dure_status dure_mix(const dure_mix_options *options, dure_mix_summary *out_summary);
void dure_mix_summary_free(dure_mix_summary *summary);

#endif  // DURE_DATA_MIX_H_
