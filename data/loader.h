// Training samples out of a dataset, by number: sample i is a pure function of (dataset, split, context, seed,
// shuffle).
//
// There is no state: the position that a training run saves and resumes is the counter of samples it has consumed,
// and any rank can read any sample. Memory does not grow with the corpus.
//
// Training split: the stream is cut into windows of `context` inputs and the same positions one token on as labels;
// documents are not kept apart other than by their end-of-text token. With T tokens an epoch has
// n = floor((T - 1) / context) samples, and sample i belongs to epoch i / n.
//   shuffle off: window k = i mod n starts at token k * context.
//   shuffle on:  k = permutation_e(i mod n), and the window starts at token (offset_e + k * context) mod T, the stream
//                being taken as a ring. Both are keyed by (seed, epoch e): the permutation is a balanced Feistel
//                network of 4 rounds whose round function is a 64-bit mixer, walked along its cycles until it falls
//                below n (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002, section 3 and 4); the
//                offset is uniform in [0, T), so the windows' edges fall elsewhere in each epoch. Within an epoch every
//                token is a label at most once, and all but T mod context (or context) of them exactly once.
//
// Held-out split: always in order, and every token is a label exactly once: label j of the stream is predicted from
// the token before it, and the very first from the end-of-text id. The last window is padded: inputs with the
// end-of-text id, labels with DURE_IGNORE_LABEL; samples at or beyond dure_loader_samples_per_epoch are padding only,
// so a fixed batch size needs no special case. The sum of the loss over its labels, in nats, divided by ln 2 and by the
// split's text_bytes is the bits per byte.
#ifndef DURE_DATA_LOADER_H_
#define DURE_DATA_LOADER_H_

#include "data/dataset.h"

// Rows with this label give zero loss and zero gradient.
#define DURE_IGNORE_LABEL UINT32_MAX

typedef struct dure_loader dure_loader;

// The dataset must outlive the loader. `seed` and `shuffle` have no effect on the held-out split. Fails with
// DURE_INVALID_ARGUMENT when context is 0 or the training split has fewer than context + 1 tokens; an empty held-out
// split is no failure: it has no samples.
DURE_MUST_CHECK dure_status dure_loader_create(const dure_dataset *dataset, dure_split split, uint32_t context,
                                               uint64_t seed, bool shuffle, dure_loader **out_loader);
void dure_loader_destroy(dure_loader *loader);  // NULL is fine

uint64_t dure_loader_samples_per_epoch(const dure_loader *loader);

// Samples first_sample .. first_sample + count - 1. On failure (DURE_CORRUPT: an id outside the vocabulary) the
// contents of the outputs are unspecified. Safe from several threads.
//
//   out_inputs  [count, context]  u32
//   out_labels  [count, context]  u32, DURE_IGNORE_LABEL only in the held-out split's padding
DURE_MUST_CHECK dure_status dure_loader_read(const dure_loader *loader, uint64_t first_sample, uint32_t count,
                                             uint32_t *out_inputs, uint32_t *out_labels);

// Where `index` < `count` goes under the permutation with this key: a bijection of [0, count). Exposed for the tests
// and for anyone who shuffles rows the same way.
uint64_t dure_loader_permute(uint64_t index, uint64_t count, uint64_t key);

// The held-out rule for ids in memory (a text file to evaluate): sample number `sample` of `count` ids, predicted
// from `first_input` (the end-of-text id) on. Samples per pass: ceil(count / context).
void dure_loader_window(const uint32_t *ids, uint64_t count, uint32_t first_input, uint32_t context, uint64_t sample,
                        uint32_t *out_inputs, uint32_t *out_labels);

#endif  // DURE_DATA_LOADER_H_
