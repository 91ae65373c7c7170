#include "data/loader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct dure_loader {
  const dure_dataset *dataset;
  dure_split split;
  uint32_t context;
  uint64_t seed;
  bool shuffle;
  uint64_t tokens;
  uint64_t samples_per_epoch;
};

// The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014): a bijection
// of the 64-bit words in which every input bit reaches every output bit.
static uint64_t mix(uint64_t word) {
  word += UINT64_C(0x9e3779b97f4a7c15);
  word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
  return word ^ (word >> 31);
}

uint64_t dure_loader_permute(uint64_t index, uint64_t count, uint64_t key) {
  if (count < 2) return 0;
  // The smallest power of four that covers the domain is at most four times as large, so a walk takes four steps on
  // average; it ends because the network is a bijection and the walk began inside the domain.
  uint32_t half_bits = 1;
  while (half_bits < 32 && (UINT64_C(1) << (2 * half_bits)) < count) half_bits++;
  const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
  do {
    uint64_t left = index >> half_bits, right = index & mask;
    for (uint64_t round = 0; round < 4; round++) {
      uint64_t next = left ^ (mix(key ^ mix(round << 32 | right)) & mask);
      left = right;
      right = next;
    }
    index = left << half_bits | right;
  } while (index >= count);
  return index;
}

dure_status dure_loader_create(const dure_dataset *dataset, dure_split split, uint32_t context, uint64_t seed,
                               bool shuffle, dure_loader **out_loader) {
  *out_loader = NULL;
  if (context == 0) return dure_fail(DURE_INVALID_ARGUMENT, "the context must be at least 1 token");
  uint64_t tokens = dure_dataset_counts(dataset, split).tokens;
  if (split == DURE_SPLIT_TRAIN && tokens <= context) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "the training text of '%s' has %" PRIu64
                     " tokens, too few for a context of %u: add text or use a context of at most %" PRIu64,
                     dure_dataset_directory(dataset), tokens, context, tokens > 0 ? tokens - 1 : 0);
  }
  dure_loader *loader = calloc(1, sizeof(*loader));
  if (loader == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory making a loader");
  loader->dataset = dataset;
  loader->split = split;
  loader->context = context;
  loader->seed = seed;
  loader->shuffle = shuffle;
  loader->tokens = tokens;
  loader->samples_per_epoch =
      split == DURE_SPLIT_TRAIN ? (tokens - 1) / context : tokens / context + (tokens % context != 0);
  *out_loader = loader;
  return NULL;
}

void dure_loader_destroy(dure_loader *loader) { free(loader); }

uint64_t dure_loader_samples_per_epoch(const dure_loader *loader) { return loader->samples_per_epoch; }

// One training window: `context` inputs from token `start` of the ring and the same moved on by one.
static dure_status read_training(const dure_loader *loader, uint64_t start, uint32_t *inputs, uint32_t *labels) {
  const uint64_t context = loader->context;
  uint64_t before_wrap = loader->tokens - start < context ? loader->tokens - start : context;
  DURE_TRY(dure_dataset_read(loader->dataset, loader->split, start, (size_t)before_wrap, inputs));
  DURE_TRY(dure_dataset_read(loader->dataset, loader->split, 0, (size_t)(context - before_wrap), inputs + before_wrap));
  memcpy(labels, inputs + 1, (size_t)(context - 1) * sizeof(*labels));
  return dure_dataset_read(loader->dataset, loader->split, (start + context) % loader->tokens, 1, labels + context - 1);
}

static uint64_t training_start(const dure_loader *loader, uint64_t sample) {
  uint64_t epoch = sample / loader->samples_per_epoch, window = sample % loader->samples_per_epoch;
  if (!loader->shuffle) return window * loader->context;
  uint64_t key = mix(mix(loader->seed) ^ epoch);
  uint64_t offset = mix(key ^ UINT64_C(0x6f66667365740000)) % loader->tokens;
  window = dure_loader_permute(window, loader->samples_per_epoch, key);
  return (offset + window * loader->context) % loader->tokens;
}

// One held-out window: labels are the tokens themselves, inputs the ones before them.
static dure_status read_held_out(const dure_loader *loader, uint64_t sample, uint32_t *inputs, uint32_t *labels) {
  const uint32_t context = loader->context;
  const uint32_t end_of_text = dure_dataset_end_of_text(loader->dataset);
  size_t count = 0;
  if (sample < loader->samples_per_epoch) {
    uint64_t first = sample * context;
    count = loader->tokens - first < context ? (size_t)(loader->tokens - first) : context;
    DURE_TRY(dure_dataset_read(loader->dataset, loader->split, first, count, labels));
    inputs[0] = end_of_text;
    if (first > 0) DURE_TRY(dure_dataset_read(loader->dataset, loader->split, first - 1, 1, inputs));
    memcpy(inputs + 1, labels, (count - 1) * sizeof(*inputs));
  }
  for (size_t i = count; i < context; i++) {
    inputs[i] = end_of_text;
    labels[i] = DURE_IGNORE_LABEL;
  }
  return NULL;
}

dure_status dure_loader_read(const dure_loader *loader, uint64_t first_sample, uint32_t count, uint32_t *out_inputs,
                             uint32_t *out_labels) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t *inputs = out_inputs + (size_t)i * loader->context;
    uint32_t *labels = out_labels + (size_t)i * loader->context;
    if (loader->split == DURE_SPLIT_TRAIN) {
      DURE_TRY(read_training(loader, training_start(loader, first_sample + i), inputs, labels));
    } else {
      DURE_TRY(read_held_out(loader, first_sample + i, inputs, labels));
    }
  }
  return NULL;
}

void dure_loader_window(const uint32_t *ids, uint64_t count, uint32_t first_input, uint32_t context, uint64_t sample,
                        uint32_t *out_inputs, uint32_t *out_labels) {
  for (uint32_t i = 0; i < context; i++) {
    // Compared by division, so that no product overflows.
    bool is_inside = sample <= count / context && sample * context + i < count;
    uint64_t position = is_inside ? sample * context + i : 0;
    out_labels[i] = is_inside ? ids[position] : DURE_IGNORE_LABEL;
    out_inputs[i] = is_inside && position > 0 ? ids[position - 1] : first_input;
  }
}
