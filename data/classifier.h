// A linear classifier of texts: logistic regression over hashed n-grams, trained from good and bad examples.
//
// Features are words and pairs of words (ASCII without regard to case) and, inside words beyond ASCII, pairs and
// triples of characters, which is what Korean's endings and compounds are made of; each is hashed into one of 2^18
// weights, and the counts are scaled to length one (Joulin et al. 2016 is the model's kin). Training is AdaGrad over a
// few passes in an order that a fixed seed shuffles: the same examples give the same file.
#ifndef DURE_DATA_CLASSIFIER_H_
#define DURE_DATA_CLASSIFIER_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_classifier dure_classifier;

DURE_MUST_CHECK dure_status dure_classifier_create(dure_classifier **out_classifier);  // scores everything 0.5
void dure_classifier_destroy(dure_classifier *classifier);                             // NULL is fine

// Adds an example; texts are looked at up to 64 KiB. `text` is valid UTF-8.
DURE_MUST_CHECK dure_status dure_classifier_add(dure_classifier *classifier, const char *text, size_t size,
                                                bool is_good);

typedef struct dure_classifier_summary {
  uint64_t good, bad;        // examples
  uint64_t held_out;         // of them, every tenth, not trained on
  double held_out_accuracy;  // at 0.5, with both classes counting alike
  double training_loss;      // nats, of the last pass
} dure_classifier_summary;

// Trains on what has been added, both classes weighing the same. DURE_INVALID_ARGUMENT when a class has no example.
DURE_MUST_CHECK dure_status dure_classifier_train(dure_classifier *classifier, dure_classifier_summary *out_summary);

// How good a text is, 0 to 1. May be called by several threads at once.
double dure_classifier_score(const dure_classifier *classifier, const char *text, size_t size);

// The file: docs/formats.md.
DURE_MUST_CHECK dure_status dure_classifier_save(const dure_classifier *classifier, const char *path);
DURE_MUST_CHECK dure_status dure_classifier_open(const char *path, dure_classifier **out_classifier);

#endif  // DURE_DATA_CLASSIFIER_H_
