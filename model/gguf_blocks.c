#include "model/gguf_blocks.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static float load_f16(const uint8_t *bytes) { return dure_f16_to_float((uint16_t)(bytes[0] | bytes[1] << 8)); }

static void store_f16(float value, uint8_t *out_bytes) {
  const uint16_t bits = dure_f16_from_float(value);
  out_bytes[0] = (uint8_t)bits;
  out_bytes[1] = (uint8_t)(bits >> 8);
}

static uint32_t load_u32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

// ---- 32 elements -------------------------------------------------------------------------------------------------
// Byte i of the 16 holds element i in its lower half and element i + 16 in its upper half.

static void expand_q4_0(const uint8_t *block, float *out_values) {
  const float d = load_f16(block);
  for (int i = 0; i < 16; i++) {
    out_values[i] = d * (float)((block[2 + i] & 15) - 8);
    out_values[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
  }
}

static void expand_q4_1(const uint8_t *block, float *out_values) {
  const float d = load_f16(block), m = load_f16(block + 2);
  for (int i = 0; i < 16; i++) {
    out_values[i] = d * (float)(block[4 + i] & 15) + m;
    out_values[i + 16] = d * (float)(block[4 + i] >> 4) + m;
  }
}

// The whole numbers 0..31 of a block of five bits: bit i of `high` is the fifth of element i.
static void five_bits(uint32_t high, const uint8_t *halves, int *out_numbers) {
  for (int i = 0; i < 16; i++) {
    out_numbers[i] = (halves[i] & 15) | (int)((high >> i & 1) << 4);
    out_numbers[i + 16] = (halves[i] >> 4) | (int)((high >> (i + 16) & 1) << 4);
  }
}

static void expand_q5_0(const uint8_t *block, float *out_values) {
  const float d = load_f16(block);
  int numbers[32];
  five_bits(load_u32(block + 2), block + 6, numbers);
  for (int i = 0; i < 32; i++) out_values[i] = d * (float)(numbers[i] - 16);
}

static void expand_q5_1(const uint8_t *block, float *out_values) {
  const float d = load_f16(block), m = load_f16(block + 2);
  int numbers[32];
  five_bits(load_u32(block + 4), block + 8, numbers);
  for (int i = 0; i < 32; i++) out_values[i] = d * (float)numbers[i] + m;
}

static void expand_q8_0(const uint8_t *block, float *out_values) {
  const float d = load_f16(block);
  for (int i = 0; i < 32; i++) out_values[i] = d * (float)(int8_t)block[2 + i];
}

static float largest_magnitude(const float *values) {
  float largest = 0;
  for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(values[i]));
  return largest;
}

static void quantize_q8_0(const float *values, uint8_t *out_block) {
  const float d = largest_magnitude(values) / 127.0f, inverse = d > 0 ? 1.0f / d : 0;
  store_f16(d, out_block);
  // The inverse of a scale that is hardly a number may not be finite.
  for (int i = 0; i < 32; i++) {
    const float scaled = isfinite(inverse) ? roundf(values[i] * inverse) : 0;
    out_block[2 + i] = (uint8_t)(int8_t)fminf(fmaxf(scaled, -127.0f), 127.0f);
  }
}

// The element of largest magnitude becomes -8 exactly: its sign decides that of the scale.
static void quantize_q4_0(const float *values, uint8_t *out_block) {
  float extreme = 0;
  for (int i = 0; i < 32; i++) {
    if (fabsf(values[i]) > fabsf(extreme)) extreme = values[i];
  }
  const float d = extreme / -8.0f, inverse = d != 0 ? 1.0f / d : 0;
  store_f16(d, out_block);
  uint8_t numbers[32];
  for (int i = 0; i < 32; i++) {
    const float scaled = isfinite(inverse) ? values[i] * inverse + 8.5f : 8.5f;
    numbers[i] = (uint8_t)fminf(fmaxf(scaled, 0.0f), 15.0f);
  }
  for (int i = 0; i < 16; i++) out_block[2 + i] = (uint8_t)(numbers[i] | numbers[i + 16] << 4);
}

// ---- 256 elements ------------------------------------------------------------------------------------------------

// The lowest two bits of element i of a block whose elements have theirs in `quants` [64].
static int two_bits(const uint8_t *quants, int i) { return quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

// 16 sub-blocks of 16: scales[16] (4 bits scale, 4 bits minimum), quants[64] (2 bits), d, minimum's d.
static void expand_q2_k(const uint8_t *block, float *out_values) {
  const uint8_t *scales = block, *quants = block + 16;
  const float d = load_f16(block + 80), minimum = load_f16(block + 82);
  for (int i = 0; i < 256; i++) {
    const float step = d * (float)(scales[i / 16] & 15), floor = minimum * (float)(scales[i / 16] >> 4);
    out_values[i] = step * (float)two_bits(quants, i) - floor;
  }
}

// 16 sub-blocks of 16: high[32] (third bits), quants[64] (2 bits), scales[12] (6 bits each), d.
static void q3_k_steps(const uint8_t *block, float *out_steps) {
  const uint8_t *packed = block + 96;
  const float d = load_f16(block + 108);
  for (int i = 0; i < 16; i++) {
    const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
    const int top = packed[8 + i % 4] >> (i / 4 * 2) & 3;
    out_steps[i] = d * (float)((low | top << 4) - 32);
  }
}

static int q3_k_number(const uint8_t *block, int i) {
  const int is_set = block[i % 32] >> (i / 32) & 1;
  return two_bits(block + 32, i) - (is_set ? 0 : 4);
}

static void expand_q3_k(const uint8_t *block, float *out_values) {
  float steps[16];
  q3_k_steps(block, steps);
  for (int i = 0; i < 256; i++) out_values[i] = steps[i / 16] * (float)q3_k_number(block, i);
}

// 8 sub-blocks of 32, as Q4_K and Q5_K have them: 12 bytes of 6-bit scales and minima.
static void sub_block_scales(const uint8_t *block, const uint8_t *packed, float *out_steps, float *out_floors) {
  const float d = load_f16(block), minimum = load_f16(block + 2);
  for (int i = 0; i < 8; i++) {
    int scale, floor;
    if (i < 4) {
      scale = packed[i] & 63;
      floor = packed[i + 4] & 63;
    } else {
      scale = (packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4;
      floor = packed[i + 4] >> 4 | (packed[i] >> 6) << 4;
    }
    out_steps[i] = d * (float)scale;
    out_floors[i] = minimum * (float)floor;
  }
}

static void expand_q4_k(const uint8_t *block, float *out_values) {
  const uint8_t *quants = block + 16;
  float steps[8], floors[8];
  sub_block_scales(block, block + 4, steps, floors);
  for (int i = 0; i < 256; i++) {
    const int q = quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
    out_values[i] = steps[i / 32] * (float)q - floors[i / 32];
  }
}

static void expand_q5_k(const uint8_t *block, float *out_values) {
  const uint8_t *high = block + 16, *quants = block + 48;
  float steps[8], floors[8];
  sub_block_scales(block, block + 4, steps, floors);
  for (int i = 0; i < 256; i++) {
    const int low = quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
    const int q = low | (high[i % 32] >> (i / 32) & 1) << 4;
    out_values[i] = steps[i / 32] * (float)q - floors[i / 32];
  }
}

// 16 sub-blocks of 16: low[128] (4 bits), high[64] (2 bits), scales[16] (i8), d.
static int q6_k_number(const uint8_t *block, int i) {
  const uint8_t *low = block, *high = block + 128;
  const int half = i / 128, within = i % 128;
  const int bottom = low[half * 64 + within % 64] >> (within / 64 * 4) & 15;
  const int top = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
  return (bottom | top << 4) - 32;
}

static void expand_q6_k(const uint8_t *block, float *out_values) {
  const float d = load_f16(block + 208);
  for (int i = 0; i < 256; i++) {
    const float step = d * (float)(int8_t)block[192 + i / 16];
    out_values[i] = step * (float)q6_k_number(block, i);
  }
}

// ---- the table ---------------------------------------------------------------------------------------------------

static const dure_gguf_type types[] = {
    {"F32", 0, 1, 4, DURE_DTYPE_F32, NULL, NULL},
    {"F16", 1, 1, 2, DURE_DTYPE_F16, NULL, NULL},
    {"Q4_0", 2, 32, 18, DURE_DTYPE_F32, expand_q4_0, quantize_q4_0},
    {"Q4_1", 3, 32, 20, DURE_DTYPE_F32, expand_q4_1, NULL},
    {"Q5_0", 6, 32, 22, DURE_DTYPE_F32, expand_q5_0, NULL},
    {"Q5_1", 7, 32, 24, DURE_DTYPE_F32, expand_q5_1, NULL},
    {"Q8_0", 8, 32, 34, DURE_DTYPE_F32, expand_q8_0, quantize_q8_0},
    {"Q2_K", 10, 256, 84, DURE_DTYPE_F32, expand_q2_k, NULL},
    {"Q3_K", 11, 256, 110, DURE_DTYPE_F32, expand_q3_k, NULL},
    {"Q4_K", 12, 256, 144, DURE_DTYPE_F32, expand_q4_k, NULL},
    {"Q5_K", 13, 256, 176, DURE_DTYPE_F32, expand_q5_k, NULL},
    {"Q6_K", 14, 256, 210, DURE_DTYPE_F32, expand_q6_k, NULL},
    {"I8", 24, 1, 1, DURE_DTYPE_NONE, NULL, NULL},
    {"I16", 25, 1, 2, DURE_DTYPE_NONE, NULL, NULL},
    {"I32", 26, 1, 4, DURE_DTYPE_NONE, NULL, NULL},
    {"I64", 27, 1, 8, DURE_DTYPE_NONE, NULL, NULL},
    {"F64", 28, 1, 8, DURE_DTYPE_F64, NULL, NULL},
    {"BF16", 30, 1, 2, DURE_DTYPE_BF16, NULL, NULL},
};
enum { type_count = sizeof(types) / sizeof(types[0]) };

const dure_gguf_type *dure_gguf_type_numbered(uint32_t number) {
  for (size_t i = 0; i < type_count; i++) {
    if (types[i].number == number) return &types[i];
  }
  return NULL;
}

const dure_gguf_type *dure_gguf_type_named(const char *name) {
  for (size_t i = 0; i < type_count; i++) {
    const char *a = types[i].name, *b = name;
    while (*a != '\0' && toupper((unsigned char)*b) == *a) {
      a++;
      b++;
    }
    if (*a == '\0' && *b == '\0') return &types[i];
  }
  return NULL;
}

const char *dure_gguf_type_refused(uint32_t number) {
  static const struct {
    uint32_t number;
    const char *name;
  } refused[] = {
      {4, "Q4_2 (withdrawn)"}, {5, "Q4_3 (withdrawn)"}, {9, "Q8_1"},    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"},
      {18, "IQ3_XXS"},         {19, "IQ1_S"},           {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
      {29, "IQ1_M"},           {34, "TQ1_0"},           {35, "TQ2_0"},  {39, "MXFP4"}, {40, "NVFP4"}};
  for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
    if (refused[i].number == number) return refused[i].name;
  }
  return "unknown";
}

static void expand_plain(const dure_gguf_type *type, const uint8_t *bytes, uint64_t count, float *out_values) {
  for (uint64_t i = 0; i < count; i++) {
    uint8_t element[8] = {0};  // at any alignment
    memcpy(element, bytes + i * type->bytes, type->bytes);
    out_values[i] = (float)dure_dtype_load(type->dtype, element, 0);
  }
}

void dure_gguf_expand(const dure_gguf_type *type, const uint8_t *blocks, uint64_t first, uint64_t count,
                      float *out_values) {
  if (type->dtype == DURE_DTYPE_F32 && type->expand == NULL) {
    if (count > 0) memcpy(out_values, blocks + first * sizeof(float), (size_t)(count * sizeof(float)));
    return;
  }
  if (type->expand == NULL) {
    expand_plain(type, blocks + first * type->bytes, count, out_values);
    return;
  }
  float values[DURE_GGUF_BLOCK_MOST];
  for (uint64_t done = 0; done < count;) {
    const uint64_t block = (first + done) / type->elements, skipped = (first + done) % type->elements;
    const uint64_t left = count - done, within = type->elements - skipped, size = left < within ? left : within;
    if (size == type->elements) {
      type->expand(blocks + block * type->bytes, out_values + done);
    } else {
      type->expand(blocks + block * type->bytes, values);
      memcpy(out_values + done, values + skipped, (size_t)(size * sizeof(float)));
    }
    done += size;
  }
}

bool dure_gguf_type_can_pack(const dure_gguf_type *type) {
  return type->quantize != NULL ||
         (type->expand == NULL &&
          (type->dtype == DURE_DTYPE_F32 || type->dtype == DURE_DTYPE_F16 || type->dtype == DURE_DTYPE_BF16));
}

void dure_gguf_pack(const dure_gguf_type *type, const float *values, uint64_t count, uint8_t *out_bytes) {
  for (uint64_t i = 0; i < count; i += type->elements, out_bytes += type->bytes) {
    if (type->quantize != NULL) {
      type->quantize(values + i, out_bytes);
    } else if (type->dtype == DURE_DTYPE_F32) {
      memcpy(out_bytes, &values[i], sizeof(float));
    } else {
      const uint16_t bits =
          type->dtype == DURE_DTYPE_BF16 ? dure_bf16_from_float(values[i]) : dure_f16_from_float(values[i]);
      memcpy(out_bytes, &bits, sizeof(bits));
    }
  }
}

// ---- codes -------------------------------------------------------------------------------------------------------

static void halves_to_codes(const uint8_t *halves, int shift, int8_t *out_codes) {
  for (int i = 0; i < 16; i++) {
    out_codes[i] = (int8_t)((halves[i] & 15) - shift);
    out_codes[i + 16] = (int8_t)((halves[i] >> 4) - shift);
  }
}

static void five_bit_codes(const uint8_t *high_and_halves, int shift, int8_t *out_codes) {
  int numbers[32];
  five_bits(load_u32(high_and_halves), high_and_halves + 4, numbers);
  for (int i = 0; i < 32; i++) out_codes[i] = (int8_t)(numbers[i] - shift);
}

static void k_codes(const uint8_t *block, bool has_fifth, int8_t *out_codes, float *out_scales, float *out_minima) {
  const uint8_t *high = block + 16, *quants = block + (has_fifth ? 48 : 16);
  sub_block_scales(block, block + 4, out_scales, out_minima);
  for (int i = 0; i < 8; i++) out_minima[i] = -out_minima[i];
  for (int i = 0; i < 256; i++) {
    const int low = quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
    out_codes[i] = (int8_t)(low | (has_fifth ? (high[i % 32] >> (i / 32) & 1) << 4 : 0));
  }
}

static void q2_k_codes(const uint8_t *block, int8_t *out_codes, float *out_scales, float *out_minima) {
  const float d = load_f16(block + 80), minimum = load_f16(block + 82);
  for (int i = 0; i < 16; i++) {
    out_scales[i] = d * (float)(block[i] & 15);
    out_minima[i] = -(minimum * (float)(block[i] >> 4));
  }
  for (int i = 0; i < 256; i++) out_codes[i] = (int8_t)two_bits(block + 16, i);
}

static void q3_k_codes(const uint8_t *block, int8_t *out_codes, float *out_scales, float *out_minima) {
  q3_k_steps(block, out_scales);
  memset(out_minima, 0, 16 * sizeof(*out_minima));
  for (int i = 0; i < 256; i++) out_codes[i] = (int8_t)q3_k_number(block, i);
}

static void q6_k_codes(const uint8_t *block, int8_t *out_codes, float *out_scales, float *out_minima) {
  const float d = load_f16(block + 208);
  for (int i = 0; i < 16; i++) {
    out_scales[i] = d * (float)(int8_t)block[192 + i];
    out_minima[i] = 0;
  }
  for (int i = 0; i < 256; i++) out_codes[i] = (int8_t)q6_k_number(block, i);
}

dure_gguf_codes dure_gguf_type_codes(const dure_gguf_type *type) {
  static const struct {
    void (*expand)(const uint8_t *block, float *out_values);
    dure_gguf_codes codes;
  } rows[] = {
      {expand_q8_0, {8, false, 32, DURE_DTYPE_F16}}, {expand_q5_0, {8, false, 32, DURE_DTYPE_F16}},
      {expand_q5_1, {8, true, 32, DURE_DTYPE_F16}},  {expand_q4_0, {4, false, 32, DURE_DTYPE_F16}},
      {expand_q4_1, {4, true, 32, DURE_DTYPE_F16}},  {expand_q4_k, {4, true, 32, DURE_DTYPE_F32}},
      {expand_q5_k, {8, true, 32, DURE_DTYPE_F32}},  {expand_q6_k, {8, false, 16, DURE_DTYPE_F32}},
      {expand_q3_k, {4, false, 16, DURE_DTYPE_F32}}, {expand_q2_k, {4, true, 16, DURE_DTYPE_F32}},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    if (type->expand == rows[i].expand) return rows[i].codes;
  }
  return (dure_gguf_codes){0};
}

void dure_gguf_block_codes(const dure_gguf_type *type, const uint8_t *block, int8_t *out_codes, float *out_scales,
                           float *out_minima) {
  if (type->expand == expand_q2_k) q2_k_codes(block, out_codes, out_scales, out_minima);
  if (type->expand == expand_q3_k) q3_k_codes(block, out_codes, out_scales, out_minima);
  if (type->expand == expand_q6_k) q6_k_codes(block, out_codes, out_scales, out_minima);
  if (type->expand == expand_q4_k || type->expand == expand_q5_k)
    k_codes(block, type->expand == expand_q5_k, out_codes, out_scales, out_minima);
  if (type->elements == 256) return;
  const bool has_minimum = dure_gguf_type_codes(type).has_minima;
  out_scales[0] = load_f16(block);
  out_minima[0] = has_minimum ? load_f16(block + 2) : 0;
  const uint8_t *rest = block + (has_minimum ? 4 : 2);
  if (type->expand == expand_q8_0) memcpy(out_codes, rest, 32);
  if (type->expand == expand_q4_0 || type->expand == expand_q4_1) halves_to_codes(rest, has_minimum ? 0 : 8, out_codes);
  if (type->expand == expand_q5_0 || type->expand == expand_q5_1) five_bit_codes(rest, has_minimum ? 0 : 16, out_codes);
}
