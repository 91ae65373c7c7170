#include "data/classifier.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/bytes.h"
#include "runtime/os.h"

enum { WEIGHT_BITS = 18, WEIGHT_COUNT = 1 << WEIGHT_BITS, TEXT_LIMIT = 1 << 16, PASSES = 5, HELD_OUT_EVERY = 10 };

#define LEARNING_RATE 0.5
#define WEIGHT_DECAY 1e-6

static const char magic[8] = "DURECLS1";

typedef struct feature {
  uint32_t index;
  float value;
} feature;

typedef struct example {
  size_t first, count;  // features
  bool is_good;
} example;

struct dure_classifier {
  float *weights;  // [WEIGHT_COUNT]
  float bias;
  // While training.
  feature *features;
  size_t feature_count, feature_capacity;
  example *examples;
  size_t example_count, example_capacity;
};

dure_status dure_classifier_create(dure_classifier **out_classifier) {
  dure_classifier *classifier = calloc(1, sizeof(*classifier));
  *out_classifier = classifier;
  if (classifier != NULL) classifier->weights = calloc(WEIGHT_COUNT, sizeof(float));
  if (classifier != NULL && classifier->weights != NULL) return NULL;
  free(classifier);
  *out_classifier = NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a classifier");
}

void dure_classifier_destroy(dure_classifier *classifier) {
  if (classifier == NULL) return;
  free(classifier->weights);
  free(classifier->features);
  free(classifier->examples);
  free(classifier);
}

// ---- features ----

// Calls `take` with the weight of each feature that occurs, as often as it occurs.
typedef struct extraction {
  void (*take)(void *context, uint32_t index);
  void *context;
} extraction;

static void take_hash(const extraction *state, uint64_t hash) {
  state->take(state->context, (uint32_t)(hash >> (64 - WEIGHT_BITS)));
}

// Pairs and triples of the characters of a word that is not ASCII.
static void take_characters(const extraction *state, const char *word, size_t size) {
  size_t starts[3] = {0};
  size_t seen = 0;
  for (size_t i = 0; i <= size; i++) {
    if (i < size && ((unsigned char)word[i] & 0xc0) == 0x80) continue;
    // `starts` says where the last three characters begin; the last of them ends here.
    if (seen >= 2) take_hash(state, XXH3_64bits_withSeed(word + starts[1], i - starts[1], 2));
    if (seen >= 3) take_hash(state, XXH3_64bits_withSeed(word + starts[0], i - starts[0], 3));
    starts[0] = starts[1];
    starts[1] = starts[2];
    starts[2] = i;
    seen++;
  }
}

static bool is_word_byte(unsigned char byte) {
  unsigned char low = byte | 0x20;
  return byte >= 0x80 || (low >= 'a' && low <= 'z') || (byte >= '0' && byte <= '9');
}

static void extract(const extraction *state, const char *text, size_t size) {
  if (size > TEXT_LIMIT) size = TEXT_LIMIT;
  uint64_t before = 0;
  for (size_t i = 0; i < size;) {
    while (i < size && !is_word_byte((unsigned char)text[i])) i++;
    char lower[64];
    size_t start = i, length = 0;
    bool is_ascii = true;
    while (i < size && is_word_byte((unsigned char)text[i])) {
      unsigned char byte = (unsigned char)text[i++];
      is_ascii = is_ascii && byte < 0x80;
      if (length < sizeof(lower)) lower[length++] = (char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
    }
    if (i == start) break;
    uint64_t word = XXH3_64bits(lower, length);
    take_hash(state, word);
    if (before != 0) take_hash(state, (before * UINT64_C(0x9e3779b97f4a7c15)) ^ word);
    if (!is_ascii) take_characters(state, text + start, i - start);
    before = word;
  }
}

// ---- scoring ----

typedef struct scoring {
  const float *weights;
  double sum;
  uint64_t count;
} scoring;

static void add_weight(void *context, uint32_t index) {
  scoring *state = context;
  state->sum += (double)state->weights[index];
  state->count++;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

double dure_classifier_score(const dure_classifier *classifier, const char *text, size_t size) {
  scoring state = {.weights = classifier->weights};
  const extraction extracting = {add_weight, &state};
  extract(&extracting, text, size);
  double scale = state.count > 0 ? 1 / sqrt((double)state.count) : 0;
  return sigmoid(state.sum * scale + (double)classifier->bias);
}

// ---- training ----

typedef struct collecting {
  dure_classifier *classifier;
  size_t first;
  bool is_failed;
} collecting;

static void add_feature(void *context, uint32_t index) {
  collecting *state = context;
  dure_classifier *classifier = state->classifier;
  if (classifier->feature_count == classifier->feature_capacity) {
    size_t capacity = classifier->feature_capacity == 0 ? 1 << 16 : 2 * classifier->feature_capacity;
    feature *features = realloc(classifier->features, capacity * sizeof(*features));
    if (features == NULL) {
      state->is_failed = true;
      return;
    }
    classifier->features = features;
    classifier->feature_capacity = capacity;
  }
  classifier->features[classifier->feature_count++] = (feature){index, 1};
}

static int compare_features(const void *left, const void *right) {
  uint32_t a = ((const feature *)left)->index, b = ((const feature *)right)->index;
  return (a > b) - (a < b);
}

// Joins equal features and scales the counts.
static void finish_features(dure_classifier *classifier, size_t first) {
  feature *features = classifier->features + first;
  size_t count = classifier->feature_count - first, kept = 0;
  if (count == 0) return;
  qsort(features, count, sizeof(*features), compare_features);
  for (size_t i = 0; i < count; i++) {
    if (kept > 0 && features[kept - 1].index == features[i].index) {
      features[kept - 1].value += 1;
    } else {
      features[kept++] = features[i];
    }
  }
  float scale = (float)(1 / sqrt((double)count));
  for (size_t i = 0; i < kept; i++) features[i].value *= scale;
  classifier->feature_count = first + kept;
}

dure_status dure_classifier_add(dure_classifier *classifier, const char *text, size_t size, bool is_good) {
  if (classifier->example_count == classifier->example_capacity) {
    size_t capacity = classifier->example_capacity == 0 ? 1024 : 2 * classifier->example_capacity;
    example *examples = realloc(classifier->examples, capacity * sizeof(*examples));
    if (examples == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory after %zu examples", capacity / 2);
    classifier->examples = examples;
    classifier->example_capacity = capacity;
  }
  collecting state = {.classifier = classifier, .first = classifier->feature_count};
  const extraction extracting = {add_feature, &state};
  extract(&extracting, text, size);
  if (state.is_failed) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory after %zu examples", classifier->example_count);
  }
  finish_features(classifier, state.first);
  classifier->examples[classifier->example_count++] =
      (example){state.first, classifier->feature_count - state.first, is_good};
  return NULL;
}

static double predict(const dure_classifier *classifier, const example *one) {
  double sum = (double)classifier->bias;
  for (size_t i = 0; i < one->count; i++) {
    const feature *at = &classifier->features[one->first + i];
    sum += (double)(classifier->weights[at->index] * at->value);
  }
  return sigmoid(sum);
}

// One step of AdaGrad (Duchi et al. 2011); returns the loss before it.
static double step(dure_classifier *classifier, const example *one, double class_weight, float *squares) {
  double predicted = predict(classifier, one);
  double gradient = class_weight * (predicted - (one->is_good ? 1 : 0));
  for (size_t i = 0; i < one->count; i++) {
    const feature *at = &classifier->features[one->first + i];
    float *weight = &classifier->weights[at->index], *square = &squares[at->index];
    double slope = gradient * (double)at->value + WEIGHT_DECAY * (double)*weight;
    *square += (float)(slope * slope);
    *weight -= (float)(LEARNING_RATE * slope / (sqrt((double)*square) + 1e-6));
  }
  classifier->bias -= (float)(0.05 * gradient);
  double likelihood = one->is_good ? predicted : 1 - predicted;
  return -class_weight * log(likelihood > 1e-12 ? likelihood : 1e-12);
}

static uint64_t next_random(uint64_t *state) {  // SplitMix64
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static void shuffle(size_t *order, size_t count, uint64_t *state) {
  for (size_t i = count; i > 1; i--) {
    size_t j = (size_t)(next_random(state) % i), swapped = order[i - 1];
    order[i - 1] = order[j];
    order[j] = swapped;
  }
}

static void measure_held_out(const dure_classifier *classifier, const size_t *order, size_t held_out,
                             dure_classifier_summary *out) {
  double right[2] = {0}, all[2] = {0};
  for (size_t i = 0; i < held_out; i++) {
    const example *one = &classifier->examples[order[i]];
    all[one->is_good]++;
    right[one->is_good] += (predict(classifier, one) > 0.5) == one->is_good;
  }
  double bad = all[0] > 0 ? right[0] / all[0] : 1, good = all[1] > 0 ? right[1] / all[1] : 1;
  out->held_out = held_out;
  out->held_out_accuracy = (bad + good) / 2;
}

dure_status dure_classifier_train(dure_classifier *classifier, dure_classifier_summary *out_summary) {
  *out_summary = (dure_classifier_summary){0};
  size_t count = classifier->example_count;
  for (size_t i = 0; i < count; i++) *(classifier->examples[i].is_good ? &out_summary->good : &out_summary->bad) += 1;
  if (out_summary->good == 0 || out_summary->bad == 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a classifier needs examples of both kinds: there are %llu good, %llu bad",
                     (unsigned long long)out_summary->good, (unsigned long long)out_summary->bad);
  }
  size_t *order = malloc(count * sizeof(*order));
  float *squares = calloc(WEIGHT_COUNT, sizeof(*squares));
  if (order == NULL || squares == NULL) {
    free(order);
    free(squares);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory training a classifier");
  }
  for (size_t i = 0; i < count; i++) order[i] = i;
  uint64_t random = 20240607;
  shuffle(order, count, &random);
  size_t held_out = count >= 2 * HELD_OUT_EVERY ? count / HELD_OUT_EVERY : 0;
  double weights[2] = {0.5 * (double)count / (double)out_summary->bad, 0.5 * (double)count / (double)out_summary->good};
  for (int pass = 0; pass < PASSES; pass++) {
    double loss = 0;
    shuffle(order + held_out, count - held_out, &random);
    for (size_t i = held_out; i < count; i++) {
      const example *one = &classifier->examples[order[i]];
      loss += step(classifier, one, weights[one->is_good], squares);
    }
    out_summary->training_loss = loss / (double)(count - held_out);
  }
  measure_held_out(classifier, order, held_out, out_summary);
  free(order);
  free(squares);
  return NULL;
}

// ---- files ----

typedef struct header {
  char magic[8];
  uint32_t weight_count;
  float bias;
  uint64_t weights_hash;  // XXH64 of the weights
} header;

dure_status dure_classifier_save(const dure_classifier *classifier, const char *path) {
  header first = {.weight_count = WEIGHT_COUNT, .bias = classifier->bias};
  memcpy(first.magic, magic, sizeof(magic));
  first.weights_hash = XXH64(classifier->weights, WEIGHT_COUNT * sizeof(float), 0);
  dure_bytes bytes = {0};
  dure_bytes_append(&bytes, &first, sizeof(first));
  dure_bytes_append(&bytes, classifier->weights, WEIGHT_COUNT * sizeof(float));
  dure_status status = dure_bytes_status(&bytes);
  if (status == NULL) status = dure_os_write_file(path, bytes.data, bytes.size);
  dure_bytes_free(&bytes);
  return status;
}

dure_status dure_classifier_open(const char *path, dure_classifier **out_classifier) {
  *out_classifier = NULL;
  char *bytes = NULL;
  size_t size = 0;
  const size_t expected = sizeof(header) + WEIGHT_COUNT * sizeof(float);
  DURE_TRY(dure_os_read_file(path, expected + 1, &bytes, &size));
  header first = {0};
  if (size >= sizeof(first)) memcpy(&first, bytes, sizeof(first));
  bool is_valid = size == expected && memcmp(first.magic, magic, sizeof(magic)) == 0 &&
                  first.weight_count == WEIGHT_COUNT && isfinite(first.bias) &&
                  XXH64(bytes + sizeof(first), WEIGHT_COUNT * sizeof(float), 0) == first.weights_hash;
  dure_classifier *classifier = NULL;
  dure_status status = is_valid ? dure_classifier_create(&classifier)
                                : dure_fail(DURE_CORRUPT, "'%s' is no classifier that this version can read", path);
  if (status == NULL) {
    memcpy(classifier->weights, bytes + sizeof(first), WEIGHT_COUNT * sizeof(float));
    classifier->bias = first.bias;
  }
  free(bytes);
  *out_classifier = classifier;
  return status;
}
