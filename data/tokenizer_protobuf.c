// SentencePiece's tokenizer.model, a protobuf message, as a tokenizer.json.
//
// The JSON has the normalizer, pre-tokenizer and decoder that come nearest for other readers, and under
// "model.sentencepiece" what SentencePiece does exactly, for this one. Fields and their numbers are those of
// sentencepiece_model.proto: ModelProto 1 pieces, 2 trainer_spec, 3 normalizer_spec, 5 denormalizer_spec.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_json_text.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_trie.h"

enum piece_type { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED, PIECE_UNUSED, PIECE_BYTE };
enum model_type { MODEL_UNIGRAM = 1, MODEL_BPE, MODEL_WORD, MODEL_CHAR };

typedef struct piece {
  const char *text;
  size_t length;
  float score;
  uint32_t type;
} piece;

typedef struct model {
  piece *pieces;
  size_t count, capacity;
  uint64_t type;
  bool byte_fallback, space_is_suffix, adds_dummy_prefix, removes_extra_spaces, escapes_spaces;
  const char *charsmap, *unknown_text;
  size_t charsmap_length, unknown_length;
} model;

// ---- the wire format: tag = field number << 3 | kind ----

typedef struct message {
  const char *bytes;
  size_t length, at;
  const char *name;
} message;

typedef struct field {
  uint32_t number;
  uint32_t kind;      // 0 varint, 1 eight bytes, 2 a length and bytes, 5 four bytes
  uint64_t value;     // of kinds 0, 1 and 5
  const char *bytes;  // of kind 2
  size_t length;
} field;

static dure_status damaged(const message *m, const char *what) {
  return dure_fail(DURE_CORRUPT, "%s: %s at byte %zu of %zu", m->name, what, m->at, m->length);
}

static dure_status read_varint(message *m, uint64_t *out_value) {
  *out_value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (m->at == m->length) return damaged(m, "expected the rest of a number, found the end");
    uint8_t byte = (uint8_t)m->bytes[m->at++];
    *out_value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) return NULL;
  }
  return damaged(m, "expected a number of at most 10 bytes, found a longer one");
}

static dure_status read_field(message *m, field *out) {
  uint64_t tag, length;
  *out = (field){0};
  DURE_TRY(read_varint(m, &tag));
  out->number = (uint32_t)(tag >> 3);
  out->kind = (uint32_t)(tag & 7);
  if (out->kind == 0) return read_varint(m, &out->value);
  size_t fixed = out->kind == 1 ? 8 : out->kind == 5 ? 4 : 0;
  if (fixed > 0) {
    if (m->length - m->at < fixed) return damaged(m, "expected a number, found the end");
    for (size_t i = 0; i < fixed; i++) out->value |= (uint64_t)(uint8_t)m->bytes[m->at + i] << (8 * i);
    m->at += fixed;
    return NULL;
  }
  if (out->kind != 2) return damaged(m, "found a field of an unknown kind");
  DURE_TRY(read_varint(m, &length));
  if (length > m->length - m->at) return damaged(m, "found a field that is longer than the message");
  out->bytes = m->bytes + m->at;
  out->length = (size_t)length;
  m->at += (size_t)length;
  return NULL;
}

// ---- messages ----

static dure_status read_piece(model *sp, const field *f) {
  message m = {f->bytes, f->length, 0, "a piece of the model"};
  piece p = {"", 0, 0, PIECE_NORMAL};
  field part;
  while (m.at < m.length) {
    DURE_TRY(read_field(&m, &part));
    uint32_t bits = (uint32_t)part.value;
    if (part.number == 1 && part.kind == 2) {
      p.text = part.bytes;
      p.length = part.length;
    } else if (part.number == 2 && part.kind == 5) {
      memcpy(&p.score, &bits, sizeof(p.score));
    } else if (part.number == 3 && part.kind == 0) {
      p.type = part.value <= PIECE_BYTE ? bits : 0;
    }
  }
  if (p.type < PIECE_NORMAL || p.type > PIECE_BYTE)
    return dure_fail(DURE_CORRUPT, "pieces[%zu].type: expected 1 to 6, found another number", sp->count);
  if (!isfinite(p.score)) return dure_fail(DURE_CORRUPT, "pieces[%zu].score: expected a finite number", sp->count);
  if (p.length == 0 || dure_utf8_valid_prefix(p.text, p.length) != p.length || memchr(p.text, '\0', p.length) != NULL)
    return dure_fail(DURE_CORRUPT, "pieces[%zu].piece: expected UTF-8 without NUL, found %zu other bytes", sp->count,
                     p.length);
  if (sp->count >= DURE_TOKEN_ID_LIMIT) return dure_fail(DURE_CORRUPT, "pieces: more than %u", DURE_TOKEN_ID_LIMIT);
  if (sp->count == sp->capacity) {
    size_t capacity = sp->capacity * 2 + 1024;
    piece *grown = realloc(sp->pieces, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", capacity);
    sp->pieces = grown;
    sp->capacity = capacity;
  }
  sp->pieces[sp->count++] = p;
  return NULL;
}

static dure_status read_trainer(model *sp, const field *f) {
  message m = {f->bytes, f->length, 0, "trainer_spec"};
  field part;
  while (m.at < m.length) {
    DURE_TRY(read_field(&m, &part));
    if (part.number == 44 && part.kind == 2 && dure_utf8_valid_prefix(part.bytes, part.length) == part.length) {
      sp->unknown_text = part.bytes;
      sp->unknown_length = part.length;
    }
    if (part.kind != 0) continue;
    if (part.number == 3) sp->type = part.value;
    if (part.number == 24) sp->space_is_suffix = part.value != 0;
    if (part.number == 35) sp->byte_fallback = part.value != 0;
  }
  return NULL;
}

static dure_status read_normalizer(model *sp, const field *f, bool is_denormalizer) {
  message m = {f->bytes, f->length, 0, is_denormalizer ? "denormalizer_spec" : "normalizer_spec"};
  field part;
  while (m.at < m.length) {
    DURE_TRY(read_field(&m, &part));
    if (is_denormalizer && part.number == 2 && part.length > 0) {
      return dure_fail(DURE_UNSUPPORTED,
                       "denormalizer_spec.precompiled_charsmap is not supported; expected it empty, found "
                       "%zu bytes",
                       part.length);
    }
    if (is_denormalizer) continue;
    if (part.number == 2 && part.kind == 2) {
      sp->charsmap = part.bytes;
      sp->charsmap_length = part.length;
    }
    if (part.number == 3 && part.kind == 0) sp->adds_dummy_prefix = part.value != 0;
    if (part.number == 4 && part.kind == 0) sp->removes_extra_spaces = part.value != 0;
    if (part.number == 5 && part.kind == 0) sp->escapes_spaces = part.value != 0;
  }
  return NULL;
}

static dure_status read_model(model *sp, const char *bytes, size_t length) {
  message m = {bytes, length, 0, "the SentencePiece model"};
  field f;
  while (m.at < m.length) {
    DURE_TRY(read_field(&m, &f));
    if (f.number == 1 && f.kind == 2) DURE_TRY(read_piece(sp, &f));
    if (f.number == 2 && f.kind == 2) DURE_TRY(read_trainer(sp, &f));
    if ((f.number == 3 || f.number == 5) && f.kind == 2) DURE_TRY(read_normalizer(sp, &f, f.number == 5));
  }
  if (sp->count == 0) return dure_fail(DURE_CORRUPT, "pieces: expected a vocabulary, found none");
  if (sp->type != MODEL_UNIGRAM && sp->type != MODEL_BPE) {
    return dure_part_unsupported("trainer_spec.model_type",
                                 sp->type == MODEL_WORD   ? "WORD"
                                 : sp->type == MODEL_CHAR ? "CHAR"
                                                          : "another number",
                                 "UNIGRAM and BPE");
  }
  return NULL;
}

// ---- writing ----

static bool crosses_space(const piece *p) {
  size_t size = strlen(DURE_SPACE_MARK), run_end = 0;
  for (size_t at = 0; at + size <= p->length; at++) {
    if (memcmp(p->text + at, DURE_SPACE_MARK, size) != 0) continue;
    if (at > run_end) return true;
    run_end = at + size;
    at = run_end - 1;
  }
  return false;
}

static void put_added(const model *sp, dure_bytes *out) {
  bool is_first = true;
  dure_json_put(out, "\"added_tokens\":[\n");
  for (size_t i = 0; i < sp->count; i++) {
    const piece *p = &sp->pieces[i];
    bool is_control = p->type == PIECE_UNKNOWN || p->type == PIECE_CONTROL;
    if (is_control || p->type == PIECE_USER_DEFINED)
      dure_json_put_added(out, &is_first, p->text, p->length, (unsigned)i, is_control);
  }
  dure_json_put(out, "],\n");
}

static void put_charsmap(const model *sp, dure_bytes *out) {
  dure_bytes_append(out, "\"", 1);
  dure_bytes_reserve(out, sp->charsmap_length / 3 * 4 + 5);
  if (!out->is_failed) {
    dure_base64_encode(sp->charsmap, sp->charsmap_length, out->data + out->size);
    out->size += strlen(out->data + out->size);
  }
  dure_bytes_append(out, "\"", 1);
}

static void put_pipeline(const model *sp, dure_bytes *out) {
  bool is_unigram = sp->type == MODEL_UNIGRAM, is_split = true;
  for (size_t i = 0; i < sp->count && is_split; i++) is_split = !crosses_space(&sp->pieces[i]);
  dure_json_put(out, "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
  if (sp->charsmap_length > 0) {
    dure_json_put(out, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":");
    put_charsmap(sp, out);
    dure_json_put(out, "},");
  }
  if (sp->removes_extra_spaces) {
    dure_json_put(out,
                  "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
                  "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},");
  }
  if (sp->adds_dummy_prefix && !is_unigram)
    dure_json_put(out, "{\"type\":\"Prepend\",\"prepend\":\"%s\"},", DURE_SPACE_MARK);
  dure_json_put(out, "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"%s\"}]},\n", DURE_SPACE_MARK);
  if (is_unigram) {
    dure_json_put(
        out,
        "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"%s\",\"prepend_scheme\":\"%s\",\"split\":%s},\n",
        DURE_SPACE_MARK, sp->adds_dummy_prefix ? "always" : "never", is_split ? "true" : "false");
  } else {
    dure_json_put(out, "\"pre_tokenizer\":null,\n");
  }
  dure_json_put(out,
                "\"post_processor\":null,\n\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
                "{\"type\":\"Replace\",\"pattern\":{\"String\":\"%s\"},\"content\":\" \"},"
                "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}%s]},\n",
                DURE_SPACE_MARK,
                sp->adds_dummy_prefix ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "");
}

static const char *truth(bool value) { return value ? "true" : "false"; }

static void put_rules(const model *sp, dure_bytes *out) {
  dure_json_put(out,
                "\"sentencepiece\":{\"add_dummy_prefix\":%s,\"remove_extra_whitespaces\":%s,"
                "\"escape_whitespaces\":%s,\"treat_whitespace_as_suffix\":%s,\n\"types\":\"",
                truth(sp->adds_dummy_prefix), truth(sp->removes_extra_spaces), truth(sp->escapes_spaces),
                truth(sp->space_is_suffix));
  for (size_t i = 0; i < sp->count; i++) dure_json_put(out, "%u", sp->pieces[i].type);
  dure_json_put(out, "\",\n");
  if (sp->unknown_text != NULL) {
    dure_json_put(out, "\"unk_surface\":");
    dure_json_put_string(out, sp->unknown_text, sp->unknown_length);
    dure_json_put(out, ",\n");
  }
  dure_json_put(out, "\"precompiled_charsmap\":");
  put_charsmap(sp, out);
  dure_json_put(out, "},\n");
}

static size_t unknown_index(const model *sp) {
  size_t i = 0;
  while (i < sp->count && sp->pieces[i].type != PIECE_UNKNOWN) i++;
  return i;
}

static void put_unigram(const model *sp, dure_bytes *out) {
  size_t unknown = unknown_index(sp);
  dure_json_put(out, "\"model\":{\"type\":\"Unigram\",\"byte_fallback\":%s,\n", truth(sp->byte_fallback));
  if (unknown < sp->count) {
    dure_json_put(out, "\"unk_id\":%zu,\n", unknown);
  } else {
    dure_json_put(out, "\"unk_id\":null,\n");
  }
  put_rules(sp, out);
  dure_json_put(out, "\"vocab\":[\n");
  for (size_t i = 0; i < sp->count; i++) {
    dure_bytes_append(out, "[", 1);
    dure_json_put_string(out, sp->pieces[i].text, sp->pieces[i].length);
    dure_json_put(out, ",%.9g]%s", (double)sp->pieces[i].score, i + 1 < sp->count ? ",\n" : "");
  }
  dure_json_put(out, "]}}\n");
}

// ---- BPE: every cut of a piece into two pieces, in the order of the scores ----

typedef struct ranked {
  float score;
  uint32_t index;
} ranked;

static int compare_ranked(const void *a, const void *b) {
  const ranked *left = a, *right = b;
  if (left->score != right->score) return left->score > right->score ? -1 : 1;
  return left->index < right->index ? -1 : left->index > right->index;
}

static bool contains(const dure_trie *trie, const char *bytes, size_t length) {
  uint32_t node = 0;
  for (size_t i = 0; i < length && node != DURE_TRIE_NONE; i++) node = dure_trie_next(trie, node, (uint8_t)bytes[i]);
  return node != DURE_TRIE_NONE && trie->nodes[node].value != DURE_TRIE_NONE;
}

static void put_cuts(const dure_trie *trie, const piece *p, bool *is_first, dure_bytes *out) {
  for (size_t at = 1; at < p->length; at++) {
    if (((uint8_t)p->text[at] & 0xC0) == 0x80) continue;
    if (!contains(trie, p->text, at) || !contains(trie, p->text + at, p->length - at)) continue;
    dure_bytes_append_text(out, *is_first ? "[" : ",\n[");
    dure_json_put_string(out, p->text, at);
    dure_bytes_append(out, ",", 1);
    dure_json_put_string(out, p->text + at, p->length - at);
    dure_bytes_append(out, "]", 1);
    *is_first = false;
  }
}

static dure_status put_merges(const model *sp, dure_bytes *out) {
  dure_trie_key *keys = malloc((sp->count + 1) * sizeof(*keys));
  ranked *order = malloc((sp->count + 1) * sizeof(*order));
  size_t count = 0;
  dure_trie trie = {0};
  dure_status status =
      keys == NULL || order == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", sp->count) : NULL;
  for (uint32_t i = 0; i < sp->count && status == NULL; i++) {
    if (sp->pieces[i].type == PIECE_UNUSED)
      status = dure_fail(DURE_UNSUPPORTED, "pieces[%u].type UNUSED is not supported with model_type BPE", i);
    if (sp->pieces[i].type != PIECE_NORMAL) continue;
    keys[count] = (dure_trie_key){sp->pieces[i].text, (uint32_t)sp->pieces[i].length, i};
    order[count++] = (ranked){sp->pieces[i].score, i};
  }
  if (status == NULL) status = dure_trie_create(keys, count, &trie);
  if (status == NULL) {
    qsort(order, count, sizeof(*order), compare_ranked);
    bool is_first = true;
    for (size_t i = 0; i < count; i++) put_cuts(&trie, &sp->pieces[order[i].index], &is_first, out);
  }
  dure_trie_free(&trie);
  free(keys);
  free(order);
  return status;
}

static dure_status put_bpe(const model *sp, dure_bytes *out) {
  size_t unknown = unknown_index(sp);
  dure_json_put(out,
                "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"continuing_subword_prefix\":null,"
                "\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":%s,\"ignore_merges\":false,"
                "\"ranks_by_token\":true,\n\"unk_token\":",
                truth(sp->byte_fallback));
  if (unknown < sp->count) {
    dure_json_put_string(out, sp->pieces[unknown].text, sp->pieces[unknown].length);
  } else {
    dure_json_put(out, "null");
  }
  dure_json_put(out, ",\n");
  put_rules(sp, out);
  dure_json_put(out, "\"vocab\":{\n");
  for (size_t i = 0; i < sp->count; i++) {
    dure_json_put_string(out, sp->pieces[i].text, sp->pieces[i].length);
    dure_json_put(out, ":%zu%s", i, i + 1 < sp->count ? ",\n" : "");
  }
  dure_json_put(out, "},\n\"merges\":[\n");
  DURE_TRY(put_merges(sp, out));
  dure_json_put(out, "]}}\n");
  return NULL;
}

dure_status dure_sentencepiece_to_json(const char *bytes, size_t length, char **out_json, size_t *out_length) {
  model sp = {.type = MODEL_UNIGRAM, .adds_dummy_prefix = true, .removes_extra_spaces = true, .escapes_spaces = true};
  dure_bytes out = {0};
  *out_json = NULL;
  *out_length = 0;
  dure_status status = read_model(&sp, bytes, length);
  if (status == NULL) {
    dure_json_put(&out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
    put_added(&sp, &out);
    put_pipeline(&sp, &out);
    if (sp.type == MODEL_BPE) {
      status = put_bpe(&sp, &out);
    } else {
      put_unigram(&sp, &out);
    }
  }
  free(sp.pieces);
  if (status != NULL) {
    dure_bytes_free(&out);
    return status;
  }
  return dure_json_finish(&out, out_json, out_length);
}
