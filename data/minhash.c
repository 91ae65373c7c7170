#include "data/minhash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { LANES = 32 };  // permutations at a time: what fits a CPU's vector registers

typedef void least_images(const uint32_t *hashes, size_t count, const uint32_t *multipliers, const uint32_t *offsets,
                          uint32_t *out_least);

struct dure_minhash {
  dure_minhash_options options;
  uint32_t used;  // permutations, in whole LANES
  least_images *least_images;
  uint32_t multipliers[DURE_MINHASH_LIMIT + LANES], offsets[DURE_MINHASH_LIMIT + LANES];
};

// ---- signatures ----

#if defined(__GNUC__)
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

// LANES places of the signature: straight loops that compilers turn into vector instructions.
INLINED void find_least(const uint32_t *hashes, size_t count, const uint32_t *multipliers, const uint32_t *offsets,
                        uint32_t *out_least) {
  uint32_t least[LANES];
  for (int k = 0; k < LANES; k++) least[k] = UINT32_MAX;
  for (size_t i = 0; i < count; i++) {
    const uint32_t hash = hashes[i];
    for (int k = 0; k < LANES; k++) {
      const uint32_t image = multipliers[k] * hash + offsets[k];
      least[k] = image < least[k] ? image : least[k];
    }
  }
  for (int k = 0; k < LANES; k++) out_least[k] = least[k];
}

static void least_images_portable(const uint32_t *hashes, size_t count, const uint32_t *multipliers,
                                  const uint32_t *offsets, uint32_t *out_least) {
  find_least(hashes, count, multipliers, offsets, out_least);
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2"))) static void least_images_avx2(const uint32_t *hashes, size_t count,
                                                              const uint32_t *multipliers, const uint32_t *offsets,
                                                              uint32_t *out_least) {
  find_least(hashes, count, multipliers, offsets, out_least);
}
#endif

static least_images *best_least_images(void) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx2")) return least_images_avx2;
#endif
  return least_images_portable;
}

// ---- parameters ----

double dure_minhash_probability(double similarity, uint32_t bands, uint32_t rows) {
  return 1 - pow(1 - pow(similarity, rows), bands);
}

static double wrong_area(double threshold, uint32_t bands, uint32_t rows) {
  enum { STEPS = 256 };
  double below = 0, above = 0;
  for (int i = 0; i < STEPS; i++) {
    const double middle = (i + 0.5) / STEPS;
    below += dure_minhash_probability(threshold * middle, bands, rows);
    above += 1 - dure_minhash_probability(threshold + (1 - threshold) * middle, bands, rows);
  }
  return (below * threshold + above * (1 - threshold)) / STEPS;
}

static void choose_bands(dure_minhash_options *options) {
  double least = 2;
  const uint32_t permutations = options->permutations;
  for (uint32_t bands = 1; bands <= permutations; bands++) {
    for (uint32_t rows = 1; rows * bands <= permutations; rows++) {
      const double area = wrong_area(options->threshold, bands, rows);
      if (area >= least) continue;
      least = area;
      options->bands = bands;
      options->rows = rows;
    }
  }
}

static dure_status check(const dure_minhash_options *options) {
  if (options->width < 1 || options->width > 1000) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a shingle has 1 to 1000 words or characters, found %u", options->width);
  }
  if (options->permutations < 1 || options->permutations > DURE_MINHASH_LIMIT) {
    return dure_fail(DURE_INVALID_ARGUMENT, "between 1 and %d permutations, found %u", DURE_MINHASH_LIMIT,
                     options->permutations);
  }
  if ((options->bands == 0) != (options->rows == 0)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "give both bands and rows, or neither to have them chosen");
  }
  if ((uint64_t)options->bands * options->rows > options->permutations) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%u bands of %u rows need more than %u permutations", options->bands,
                     options->rows, options->permutations);
  }
  if (options->bands == 0 && !(options->threshold > 0 && options->threshold < 1)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the threshold lies between 0 and 1, found %g", options->threshold);
  }
  return NULL;
}

dure_status dure_minhash_create(const dure_minhash_options *options, dure_minhash **out_minhash) {
  *out_minhash = NULL;
  DURE_TRY(check(options));
  dure_minhash *minhash = calloc(1, sizeof(*minhash));
  if (minhash == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the permutations");
  minhash->options = *options;
  minhash->least_images = best_least_images();
  if (options->bands == 0) choose_bands(&minhash->options);
  minhash->used = (minhash->options.bands * minhash->options.rows + LANES - 1) / LANES * LANES;
  for (uint32_t i = 0; i < minhash->used; i++) {
    const uint64_t bits = XXH3_64bits_withSeed(&i, sizeof(i), options->seed);
    minhash->multipliers[i] = (uint32_t)bits | 1;
    minhash->offsets[i] = (uint32_t)(bits >> 32);
  }
  *out_minhash = minhash;
  return NULL;
}

void dure_minhash_destroy(dure_minhash *minhash) { free(minhash); }
uint32_t dure_minhash_bands(const dure_minhash *minhash) { return minhash->options.bands; }
uint32_t dure_minhash_rows(const dure_minhash *minhash) { return minhash->options.rows; }

// ---- shingles ----

static uint32_t finalize(uint32_t hash) {
  hash = (hash ^ (hash >> 16)) * UINT32_C(0x85ebca6b);
  hash = (hash ^ (hash >> 13)) * UINT32_C(0xc2b2ae35);
  return hash ^ (hash >> 16);
}

static size_t word_shingles(const dure_text_words *words, uint32_t width, uint32_t *out_hashes) {
  const size_t size = words->count < width ? words->count : width, count = words->count - size + 1;
  for (size_t i = 0; i < count; i++) out_hashes[i] = finalize((uint32_t)dure_text_words_hash(words, i, size));
  return count;
}

static size_t character_length(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }

static size_t character_shingles(const dure_bytes *text, uint32_t width, uint32_t *out_hashes) {
  size_t start = 0, end = 0, count = 0;
  for (uint32_t i = 0; i < width && end < text->size; i++) end += character_length((unsigned char)text->data[end]);
  for (;;) {
    out_hashes[count++] = finalize((uint32_t)XXH3_64bits(text->data + start, end - start));
    if (end >= text->size) return count;
    start += character_length((unsigned char)text->data[start]);
    end += character_length((unsigned char)text->data[end]);
  }
}

dure_status dure_minhash_text(const dure_minhash *minhash, const dure_text_words *words, uint64_t *out_bands,
                              bool *out_is_empty) {
  const dure_minhash_options *options = &minhash->options;
  *out_is_empty = words->count == 0;
  if (words->count == 0) return NULL;
  const bool is_of_words = options->shingle == DURE_SHINGLE_WORDS;
  uint32_t *hashes = malloc((is_of_words ? words->count : words->text.size) * sizeof(*hashes));
  if (hashes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the shingles of a document");
  const size_t count = is_of_words ? word_shingles(words, options->width, hashes)
                                   : character_shingles(&words->text, options->width, hashes);
  uint32_t signature[DURE_MINHASH_LIMIT + LANES];
  for (uint32_t i = 0; i < minhash->used; i += LANES) {
    minhash->least_images(hashes, count, minhash->multipliers + i, minhash->offsets + i, signature + i);
  }
  free(hashes);
  for (uint32_t i = 0; i < options->bands; i++) {
    out_bands[i] = XXH3_64bits_withSeed(signature + (size_t)i * options->rows, options->rows * sizeof(uint32_t), i);
  }
  return NULL;
}
