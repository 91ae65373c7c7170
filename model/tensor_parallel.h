// Tensor parallelism (Shoeybi et al. 2019, "Megatron-LM", section 3): each rank of a group has some heads of every
// attention and some of every feed-forward's inner elements, those of experts likewise: each rank has a part of every
// expert, and routers are whole. This is the one place that knows what is cut, and how.
//
// A rank's model is described by the config of its part: as many parts fewer heads and inner elements, all else as it
// is. Shapes, programs and memory follow from that as for any model. What a parameter is cut along follows from its
// dimensions' meanings (model/family.h): heads, keys, inner and gated are divided, all others are not. Parameters
// without such a dimension (embeddings, head, norms, biases of output products) are the same on all ranks.
//
// Files have whole tensors. A cut says which rows or columns of them a part has, so that they are read, written and
// initialised by the places of their elements in the whole.
#ifndef DURE_MODEL_TENSOR_PARALLEL_H_
#define DURE_MODEL_TENSOR_PARALLEL_H_

#include "model/config.h"
#include "model/parameters.h"

// Makes a whole model's config that of one of `parts` parts (0 and 1: leaves it). DURE_INVALID_ARGUMENT for heads or
// inner elements that cannot be divided; names them.
DURE_MUST_CHECK dure_status dure_model_config_divide(dure_model_config *config, uint32_t part, uint32_t parts);
// The whole model's heads and inner elements again; the source stays the config's own.
dure_model_config dure_model_config_whole(const dure_model_config *config);
// Whether the model has attention whose heads `parts` ranks can share (dure_model_config_divide's refusals, and those
// of sequence parallelism, whose ranks exchange heads). `option` is named: "--sequence-parallel".
DURE_MUST_CHECK dure_status dure_model_config_check_heads(const dure_model_config *config, const char *option,
                                                          uint32_t parts);

// Fills parameter->whole and parameter->cut from its row; its shape is the part's.
void dure_parameter_cut_make(const dure_model_config *config, dure_parameter *parameter);
bool dure_parameter_is_cut(const dure_parameter *parameter);
bool dure_parameter_has_cut_columns(const dure_parameter *parameter);
// Where run `run` of the cut begins in the whole axis.
uint64_t dure_parameter_cut_first(const dure_parameter *parameter, uint32_t run);
// The place in the whole parameter of the part's element.
uint64_t dure_parameter_whole_element(const dure_parameter *parameter, uint64_t element);
// Of whole row `row`, and of at most `rows` from it on: so many are there one after the other from the part's row
// *out_row on, or are elsewhere (DURE_ROW_ELSEWHERE).
uint64_t dure_parameter_cut_rows(const dure_parameter *parameter, uint64_t row, uint64_t rows, uint64_t *out_row);
// Keeps of `rows` whole rows the part's columns, in place.
void dure_parameter_cut_columns(const dure_parameter *parameter, uint64_t rows, float *values);

#endif  // DURE_MODEL_TENSOR_PARALLEL_H_
