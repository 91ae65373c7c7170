// Tokenizers of GGUF files that came from SentencePiece: BPE ("llama") and unigram ("t5").
#ifndef DURE_MODEL_GGUF_SENTENCEPIECE_H_
#define DURE_MODEL_GGUF_SENTENCEPIECE_H_

#include "model/gguf.h"

// The tokenizer.json that stands for the file's lists, without ids around texts; release with free(). DURE_CORRUPT when
// lists are missing or contradict each other.
DURE_MUST_CHECK dure_status dure_gguf_sentencepiece(const dure_gguf *file, bool is_unigram, char **out_json,
                                                    size_t *out_length);

// Writes the lists of a tokenizer.json's "model" that has "sentencepiece". `rows` is the model's vocabulary.
struct json_t;
DURE_MUST_CHECK dure_status dure_gguf_write_sentencepiece(dure_gguf_writer *writer, const struct json_t *model,
                                                          uint32_t rows);

#endif  // DURE_MODEL_GGUF_SENTENCEPIECE_H_
