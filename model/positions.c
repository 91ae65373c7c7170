// Tables of positions that belong to a configuration: rotary angles and ALiBi slopes, in double, rounded once.
#include <math.h>

#include "model/config.h"

static const double two_pi = 6.283185307179586476925286766559;

// Rotations in `original_context` positions from which a dimension's frequency turns `rotations` times.
static double yarn_dimension(const dure_rotary_config *r, double rotations) {
  return (double)r->width * log((double)r->original_context / (rotations * two_pi)) / (2 * log(r->base));
}

// The share of a frequency that is extrapolated as it is; the rest is interpolated (Peng et al. 2023, section 3.2).
static double yarn_share(const dure_rotary_config *r, uint32_t i) {
  double low = yarn_dimension(r, r->beta_fast), high = yarn_dimension(r, r->beta_slow);
  if (r->truncates) {
    low = floor(low);
    high = ceil(high);
  }
  if (low < 0) low = 0;
  if (high > (double)r->width - 1) high = (double)r->width - 1;
  if (high <= low) high = low + 0.001;
  const double ramp = ((double)i - low) / (high - low);
  return 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
}

// Llama 3.1: wavelengths beyond original / low are divided by the factor, those below original / high stay.
static double llama3_frequency(const dure_rotary_config *r, double frequency) {
  const double turns = (double)r->original_context * frequency / two_pi;
  if (turns < r->low_frequency_factor) return frequency / r->factor;
  if (turns > r->high_frequency_factor) return frequency;
  const double smooth = (turns - r->low_frequency_factor) / (r->high_frequency_factor - r->low_frequency_factor);
  return (1 - smooth) * frequency / r->factor + smooth * frequency;
}

static double frequency_of(const dure_rotary_config *r, uint32_t i) {
  const double plain = pow(r->base, -2.0 * (double)i / (double)r->width);
  switch (r->scaling) {
    case DURE_ROTARY_PLAIN: return plain;
    case DURE_ROTARY_LINEAR: return plain / r->factor;
    case DURE_ROTARY_LLAMA3: return llama3_frequency(r, plain);
    case DURE_ROTARY_YARN: return plain / r->factor * (1 - yarn_share(r, i)) + plain * yarn_share(r, i);
  }
  return plain;
}

void dure_model_config_rotary_table(const dure_rotary_config *rotary, uint32_t positions, float *out_table) {
  const dure_rotary_config *r = rotary;
  const uint32_t half = r->width / 2;
  double magnitude = 1;
  if (r->scaling == DURE_ROTARY_YARN)
    magnitude = r->attention_factor > 0 ? r->attention_factor : 0.1 * log(r->factor) + 1;
  for (uint32_t i = 0; i < half; i++) {
    const double frequency = frequency_of(r, i);
    for (uint32_t p = 0; p < positions; p++) {
      float *row = out_table + (uint64_t)p * r->width;
      row[i] = (float)(magnitude * cos((double)p * frequency));
      row[half + i] = (float)(magnitude * sin((double)p * frequency));
    }
  }
}

void dure_model_config_alibi_slopes(const dure_model_config *config, float *out_slopes) {
  const uint32_t H = config->head_count;
  const double scale = config->alibi_is_scaled ? 1 / sqrt((double)config->head_width) : 1;
  uint32_t power = 1;  // the largest power of two that is at most H, or the least that is at least H
  while (2 * power <= H) power *= 2;
  if (config->alibi_is_interleaved) {
    // The slopes of the next power of two: every second one first, then the others, as many as there are heads.
    if (power < H) power *= 2;
    const uint32_t seconds = power / 2;
    for (uint32_t h = 0; h < H; h++) {
      const uint32_t place = power == H ? h : h < seconds ? 2 * h + 1 : 2 * (h - seconds);
      out_slopes[h] = (float)(scale * exp2(-config->alibi_largest * (double)(place + 1) / (double)power));
    }
    return;
  }
  for (uint32_t h = 0; h < H; h++) {
    const double exponent = h < power ? (double)(h + 1) / (double)power : (double)(2 * (h - power) + 1) / (2.0 * power);
    out_slopes[h] = (float)(scale * exp2(-config->alibi_largest * exponent));
  }
}
