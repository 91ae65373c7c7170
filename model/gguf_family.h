// How GGUF files spell the families of families.def: one row an architecture.
//
// GGUF has names of its own for parameters ("blk.0.attn_q.weight"), and some lie in another order than in Hugging Face
// directories. Here public names, shapes and orders are those of the directories; the tables say what becomes of them.
#ifndef DURE_MODEL_GGUF_FAMILY_H_
#define DURE_MODEL_GGUF_FAMILY_H_

#include "model/config.h"
#include "model/gguf.h"

struct json_t;

// How a tensor's rows or elements lie in GGUF, seen from the public tensor.
typedef enum dure_gguf_order {
  DURE_GGUF_SAME,
  DURE_GGUF_ROTARY_QUERY,  // rotated pairs beside each other within a head: public row a D/2 + b is row 2 b + a
  DURE_GGUF_ROTARY_KEY,
  DURE_GGUF_BY_KIND,     // all queries, all keys, all values; the public tensor has them group by group
  DURE_GGUF_TRANSPOSED,  // public [in, out] (GPT-2's Conv1D) is [out, in]
  DURE_GGUF_PLUS_ONE,    // the norms of Gemma: 1 is added
  DURE_GGUF_EXPERTS,     // [experts, rows, columns]: the public tensors of all experts, whose names have a second "%u"
  DURE_GGUF_ONE_ROW,     // a vector; public [1, columns]
  DURE_GGUF_KEY_UP,  // latent attention's key parts [H, rank, plain]; public: of each head its key's rows, its value's
  DURE_GGUF_VALUE_UP,  // and its values [H, value, rank], which go with them
} dure_gguf_order;

typedef struct dure_gguf_name {
  const char *public_name;  // without ".weight" or ".bias"; of a layer's parameter "...%u..."
  const char *gguf_name;
  dure_gguf_order order;
  dure_trait needs;  // only in models that have this
  bool is_whole;     // the names have no ending
} dure_gguf_name;

// A key of the metadata (after "ARCHITECTURE.") and the key of config.json that it fills.
typedef struct dure_gguf_key {
  const char *gguf_key;
  const char *config_key;
  bool is_number;    // else a whole number
  bool is_required;  // else left to the family's default
  bool is_own;       // of this family: written from config.json, where others follow from dure_model_config
} dure_gguf_key;

typedef struct dure_gguf_family {
  const char *architecture;  // general.architecture
  const char *model_type;    // of config.json
  const dure_gguf_key *keys;
  size_t key_count;
  const dure_gguf_name *names;
  size_t name_count;
  // What the tables do not say; NULL: nothing.
  dure_status (*finish)(const dure_gguf *file, struct json_t *json);
} dure_gguf_family;

// DURE_UNSUPPORTED naming the nearest.
DURE_MUST_CHECK dure_status dure_gguf_family_find(const char *path, const char *architecture,
                                                  const dure_gguf_family **out_family);
// The row that writes models of a config.json's model type; NULL: GGUF has no such architecture.
const dure_gguf_family *dure_gguf_family_writing(const char *model_type);

// The other name of a tensor; false when the tables have none. `out_order` is how the GGUF tensor lies. A public name
// may lack `optional_prefix`.
bool dure_gguf_name_to_public(const dure_gguf_family *family, const dure_model_config *config, const char *name,
                              char *out_name, size_t size, dure_gguf_order *out_order);
bool dure_gguf_name_from_public(const dure_gguf_family *family, const char *optional_prefix, const char *name,
                                char *out_name, size_t size, dure_gguf_order *out_order);
// The public name of one expert's part of a tensor of all; false when the tensor is none.
bool dure_gguf_name_of_expert(const dure_gguf_family *family, const char *name, uint64_t expert, char *out_name,
                              size_t size);
// The other way: the GGUF tensor that a public tensor is a part of, and whose.
bool dure_gguf_name_from_expert(const dure_gguf_family *family, const char *name, char *out_name, size_t size,
                                uint64_t *out_expert);
// Where the public tensor's row lies in GGUF's. Orders that keep rows give `row`.
uint64_t dure_gguf_row(dure_gguf_order order, const dure_model_config *config, uint64_t row);

// The configuration that the metadata describes, as config.json spells it; what dure_model_config_read gives for GGUF
// files. DURE_CORRUPT, or DURE_UNSUPPORTED naming what is not supported.
DURE_MUST_CHECK dure_status dure_gguf_config(const dure_gguf *file, dure_model_config *out_config);
// Writes that metadata ("general." and the architecture's keys).
void dure_gguf_write_config(dure_gguf_writer *writer, const dure_gguf_family *family, const dure_model_config *config);
// Llama 3.1's scaling is a tensor of factors in GGUF, rope_freqs.weight: the number of its elements, 0: none is needed.
uint32_t dure_gguf_rope_factors(const dure_model_config *config, float *out_factors);

#endif  // DURE_MODEL_GGUF_FAMILY_H_
