// What the engine runs on the device: the paged cache, one program for every number of sequences that decode together
// and for every length of a piece of a prompt and number of prompts, and the memory through which the host and they
// exchange values.
//
// Rows of a decoding step are sequences, but may as well be successive tokens of one: in each layer all rows' keys and
// values are put into the cache before any row attends, and a row sees those up to its own position.
//
// That memory is mapped: a step is written there, submitted as one program, waited for, and read there. So a token
// costs one submit, and nothing is uploaded. Programs are made when they are first needed, or by
// engine_programs_prepare.
#ifndef DURE_MODEL_ENGINE_PROGRAMS_H_
#define DURE_MODEL_ENGINE_PROGRAMS_H_

#include "model/model.h"
#include "runtime/program.h"

enum {
  ENGINE_WIDTHS = 7,     // of decoding: 1, 2, 4, .. 64 rows
  ENGINE_PROMPTS = 4,    // prompts of which a piece is taken together: 1, 4, 16, 64
  ENGINE_CHUNKS = 4,     // of a prompt: 8, 32, 128, 512 tokens
  ENGINE_SCORED = 32,    // tokens of a prompt whose logits are wanted at a time
  ENGINE_ADJUSTED = 512  // tokens whose logits a sequence may change
};

// Values of the next step: B rows of T tokens.
typedef struct engine_exchange {
  uint32_t *tokens, *positions;  // [B, T]
  uint32_t *lengths;             // [B] tokens in the cache before
  uint32_t *last;                // [B] the row (of B T) of the last token of each prompt's piece
  uint32_t *table;               // [B, blocks_per_sequence]
  float *settings;               // [B, DURE_SAMPLE_COUNT]
  uint32_t *random;              // [B, 4]
  uint32_t *ids;                 // [B, ENGINE_ADJUSTED]; UINT32_MAX: none
  float *changes;                // [B, ENGINE_ADJUSTED, 2]
  uint32_t *mask;                // [B, mask_words]: bits of the tokens that may be drawn
  uint32_t mask_words;
  bool *is_masked;        // [B] rows some of whose bits are 0; of the host alone
  const uint32_t *drawn;  // [B] the tokens drawn, after the step
} engine_exchange;

typedef struct engine_sizes {
  uint32_t sequences;  // at once at most
  uint32_t rows;       // of a decoding step at most: sequences, and tokens proposed for them; 0: as sequences
  uint32_t context;    // tokens of a sequence at most
  uint32_t chunk;      // tokens of a prompt at once at most
  uint32_t block_size, block_count, blocks_per_sequence;
  uint32_t candidate_count;
  dure_dtype cache_type;
} engine_sizes;

typedef struct engine_programs {
  dure_model *model;  // borrowed
  engine_sizes sizes;
  uint32_t layer_count;
  dure_buffer **caches;  // [2 * layer_count]: keys, then values
  dure_buffer *exchange_buffer;
  dure_buffer *logits;         // f32 [most rows, vocabulary]
  dure_buffer *scored_logits;  // f32 [ENGINE_SCORED, vocabulary]; NULL until needed
  engine_exchange exchange;
  bool masked_rows[1 << (ENGINE_WIDTHS - 1)];
  dure_executable *decode[ENGINE_WIDTHS], *prefill[ENGINE_PROMPTS][ENGINE_CHUNKS], *score;
} engine_programs;

// Bytes of the caches for one token, scales with them.
uint64_t engine_cache_token_bytes(const dure_model *model, dure_dtype cache_type);
DURE_MUST_CHECK dure_status engine_programs_create(dure_model *model, const engine_sizes *sizes,
                                                   engine_programs *out_programs);
void engine_programs_clear(engine_programs *programs);  // waits for the stream

// Rows of the program that decodes `count` of them, and tokens of the one that takes `left` of a prompt.
uint32_t engine_width(uint32_t count);
uint32_t engine_mask_words(const dure_model *model);  // of a row
uint32_t engine_chunk(const engine_sizes *sizes, uint32_t left);
// Prompts of the program that takes a piece of so many tokens of up to `count` of them. All pieces together have no
// more tokens than the longest one may have.
uint32_t engine_prompts(const engine_sizes *sizes, uint32_t chunk, uint32_t count);
// Makes what decoding up to `rows` rows together, and prompts, will need.
DURE_MUST_CHECK dure_status engine_programs_prepare(engine_programs *programs, uint32_t rows);

// A row of decoding that is nobody's: one token in block 0.
void engine_programs_pad(const engine_programs *programs, uint32_t row);
// Makes the program of one width, unless it is there.
DURE_MUST_CHECK dure_status engine_programs_need(engine_programs *programs, uint32_t width);

// One step of what the exchange says; waits. `width`, `chunk` and `prompts` as the functions above gave them.
DURE_MUST_CHECK dure_status engine_run_decode(engine_programs *programs, uint32_t width);
DURE_MUST_CHECK dure_status engine_run_prefill(engine_programs *programs, uint32_t prompts, uint32_t chunk);
DURE_MUST_CHECK dure_status engine_run_score(engine_programs *programs);
// A row of the last step's logits (or of a scored piece's), adjusted; [vocabulary_size], owned by nobody else until the
// next step. `scratch` has room for a row, for devices whose memory the host does not reach.
DURE_MUST_CHECK dure_status engine_logits_row(engine_programs *programs, bool is_scored, uint32_t row, float *scratch,
                                              const float **out_row);

#endif  // DURE_MODEL_ENGINE_PROGRAMS_H_
