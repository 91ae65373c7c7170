// The feed-forward half of a block.
#include "model/decoder_internal.h"

dure_tensor decoder_feed_forward(const dure_decoder *decoder, dure_tensor h, dure_tensor residual, uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const uint64_t I = config->inner_width;
  if (config->is_gated) {
    h = decoder_project(decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer);
    const uint64_t B = dure_tensor_dimension(p, h, 0), T = dure_tensor_dimension(p, h, 1);
    const uint64_t shape[3] = {B, T, I}, stride[3] = {2 * I * T, 2 * I, 1};
    h = dure_gated_activation(p, dure_tensor_view(p, h, 3, shape, stride, 0),
                              dure_tensor_view(p, h, 3, shape, stride, I), config->activation);  // [B, T, I]
  } else {
    h = decoder_project_with(decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer,
                             (dure_matmul_options){.has_activation = true, .activation = config->activation});
  }
  return decoder_project_with(decoder, h, DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_OUTPUT_BIAS,
                              layer, (dure_matmul_options){.residual = residual});
}
