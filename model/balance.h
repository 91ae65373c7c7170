// Keeping the experts of a mixture equally busy while it is trained: without, routing collapses onto a few of them.
//
// The auxiliary loss (Fedus et al. 2022, "Switch Transformers", section 2.2; Jiang et al. 2024; DeepSeek-AI 2024,
// section 2.2.2): weight * E / chosen * sum over the experts e of f_e P_e, where f_e is the share of e among the
// choices made and P_e the mean of its scores (softmax; of sigmoid routers, scores divided by their sum);
// dure_balance_scope says what the means are over. f is a constant, so the loss's gradient reaches the routers through
// P alone, and is linear in the scores: it is handed to the backward pass without the loss itself being made.
//
// The bias of routers that have one (Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing", section 3): after each
// step it falls by the rate for experts with more than the mean of the step's tokens, and rises for those with less.
#ifndef DURE_MODEL_BALANCE_H_
#define DURE_MODEL_BALANCE_H_

#include "model/decoder.h"

// Records, after the forward pass noted `routers` [layer_count], what the auxiliary loss adds to the gradients:
// pairs of a tensor made here and its gradient, times `share` f32 [1]. `out_pairs` has room for one a layer; returns
// how many there are.
size_t dure_balance_record(dure_program *program, const dure_model_config *config, const dure_router *routers,
                           uint64_t sequences, dure_tensor share, dure_tensor presence,
                           dure_gradient_target *out_pairs);
// presence f32 [R]: 0 for the tokens of sequences that are padding (no label is to be learnt), for others all sequences
// over those: padding, which ranks have whose batch is not full, counts neither among the choices nor in the means.
// `sequences` of labels [sequences, tokens].
void dure_balance_presence(const uint32_t *labels, uint64_t sequences, uint64_t tokens, float *out_presence);

// Records, after the backward pass, the experts' excess of tokens times `share` into the gradients of the routers'
// biases, of which the optimizer takes the sign (dure_optimizer_attributes). Small enough to leave the gradients' norm
// as it is. `adds`: to those of earlier micro-steps; nothing else writes them.
void dure_balance_record_biases(dure_program *program, const dure_model_config *config,
                                const dure_parameter_layout *layout, const dure_router *routers, dure_tensor share,
                                dure_tensor presence, bool adds, const dure_tensor *gradients);

#endif  // DURE_MODEL_BALANCE_H_
