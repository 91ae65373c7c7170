// Conversions between float types on every Vulkan device are those of runtime/dtype.h, for every 16-bit number; and
// kernels are specialised before a driver sees them.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/random.h"
#include "runtime/vulkan/specialise.h"
#include "shaders/shaders.h"
#include "tests/suite.h"

// ---- conversions ------------------------------------------------------------------------------------------------

enum { COUNT = 1 << 18 };

// y = x by the op `copy`, of COUNT elements.
static void convert_on(dure_device *device, dure_dtype from, const void *x, dure_dtype to, void *out_y) {
  const uint64_t shape = COUNT;
  dure_program *program = dure_program_create();
  ck_assert_ptr_nonnull(program);
  dure_tensor tensors[DURE_MAX_OPERANDS] = {
      dure_tensor_external(program, "x", from, 1, &shape, DURE_LIFETIME_INPUT),
      dure_tensor_external(program, "y", to, 1, &shape, DURE_LIFETIME_OUTPUT),
  };
  dure_program_call(program, DURE_OP_copy, tensors, NULL, 0);
  dure_executable *executable = NULL;
  dure_stream *stream = NULL;
  require(dure_program_compile(program, device, NULL, 0, NULL, &executable));
  dure_program_destroy(program);
  require(dure_stream_create(device, &stream));
  require(dure_executable_write(executable, stream, tensors[0], x, COUNT * dure_dtype_size(from)));
  require(dure_executable_submit(executable, stream));
  require(dure_executable_read(executable, stream, tensors[1], out_y, COUNT * dure_dtype_size(to)));
  dure_stream_destroy(stream);
  dure_executable_destroy(executable);
}

// Subnormal f32 numbers may be taken for 0.
static bool agrees(dure_dtype from, uint32_t bits, float expected, float found) {
  if (isnan(expected)) return isnan(found);
  const bool is_subnormal = from != DURE_DTYPE_F16 && expected != 0 && (bits & 0x7fffffffu) < 0x00800000u;
  return expected == found || (is_subnormal && found == 0);
}

static void check_conversion(dure_device *device, dure_dtype from, dure_dtype to) {
  uint32_t *x = calloc(COUNT, 4), *y = calloc(COUNT, 4);
  ck_assert(x != NULL && y != NULL);
  for (uint32_t i = 0; i < COUNT; i++) {  // every 16-bit number four times; f32: random bits of every exponent
    uint32_t words[4];
    dure_random_words(7, 0, 1, i, words);
    if (from == DURE_DTYPE_F32) {
      x[i] = words[0];
    } else {
      ((uint16_t *)x)[i] = (uint16_t)i;
    }
  }
  convert_on(device, from, x, to, y);
  for (uint32_t i = 0; i < COUNT; i++) {
    uint16_t rounded = 0;
    const double value = dure_dtype_load(from, x, i);
    float expected = (float)value;
    if (to != DURE_DTYPE_F32) {
      dure_dtype_store(to, &rounded, 0, value);
      expected = (float)dure_dtype_load(to, &rounded, 0);
    }
    const uint32_t bits = from == DURE_DTYPE_F32 ? x[i] : from == DURE_DTYPE_BF16 ? (i & 0xffffu) << 16 : 0;
    const float found = (float)dure_dtype_load(to, y, i);
    if (agrees(from, bits, expected, found)) continue;
    ck_abort_msg("%s to %s: element %u, %a, became %a instead of %a", dure_dtype_name(from), dure_dtype_name(to), i,
                 value, (double)found, (double)expected);
  }
  free(x);
  free(y);
}

START_TEST(float_types_are_converted_as_on_the_host) {
  dure_device_info *infos = NULL;
  size_t count = 0;
  require(dure_devices_list(&infos, &count, NULL));
  for (size_t i = 0; i < count; i++) {
    if (!infos[i].usable || strcmp(infos[i].backend, "vulkan") != 0) continue;
    dure_device *device = NULL;
    require(dure_device_open(infos[i].identifier, &device));
    const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};
    for (int from = 0; from < 3; from++) {
      for (int to = 0; to < 3; to++) {
        if (from != to) check_conversion(device, types[from], types[to]);
      }
    }
    dure_device_close(device);
  }
  free(infos);
}
END_TEST

// ---- specialisation ---------------------------------------------------------------------------------------------

// Of one instruction: its words after the first.
typedef struct instruction {
  uint32_t operation, word_count;
  const uint32_t *words;
} instruction;

static instruction instruction_at(const uint32_t *words, size_t at) {
  return (instruction){words[at] & 0xffffu, words[at] >> 16, words + at + 1};
}

START_TEST(specialised_kernels_have_no_constants_left_open) {
  const uint32_t constants[] = {64, 1, 1, 1, 1, 1, 1, 1};
  for (size_t i = 0; i < dure_shader_count; i++) {
    if (dure_shaders[i].words == NULL) continue;
    uint32_t *words = NULL;
    size_t size = 0;
    require(dure_vulkan_specialise(dure_shaders[i].words, *dure_shaders[i].bytes, constants, 8, &words, &size));
    for (size_t at = 5; at < size / 4;) {
      const instruction found = instruction_at(words, at);
      const bool is_open = found.operation >= 48 && found.operation <= 51;
      const bool is_numbered = found.operation == 71 && found.words[1] == 1;
      if (found.word_count == 0 || is_open || is_numbered)
        ck_abort_msg("%s: operation %u at word %zu", dure_shaders[i].name, found.operation, at);
      at += found.word_count;
    }
    free(words);
  }
}
END_TEST

START_TEST(operations_on_constants_are_evaluated) {
  enum { BOOL = 1, UINT, GIVEN, DEFAULT, TWO, IS_TWO, SUM, BOUND };
  const uint32_t module[] = {
      0x07230203,
      0x00010500,
      0,
      BOUND,
      0,
      4u << 16 | 71,
      GIVEN,
      1,
      0,  // SpecId 0
      4u << 16 | 71,
      DEFAULT,
      1,
      9,  // SpecId 9: not given
      2u << 16 | 20,
      BOOL,
      4u << 16 | 21,
      UINT,
      32,
      0,
      4u << 16 | 50,
      UINT,
      GIVEN,
      7,  // OpSpecConstant
      4u << 16 | 50,
      UINT,
      DEFAULT,
      30,
      4u << 16 | 43,
      UINT,
      TWO,
      2,  // OpConstant
      6u << 16 | 52,
      BOOL,
      IS_TWO,
      170,
      GIVEN,
      TWO,  // OpIEqual
      6u << 16 | 52,
      UINT,
      SUM,
      128,
      GIVEN,
      DEFAULT,
  };
  const uint32_t given = 2;
  uint32_t *words = NULL;
  size_t size = 0;
  require(dure_vulkan_specialise(module, sizeof(module), &given, 1, &words, &size));
  const uint32_t expected[] = {
      0x07230203,
      0x00010500,
      0,
      BOUND,
      0,
      2u << 16 | 20,
      BOOL,
      4u << 16 | 21,
      UINT,
      32,
      0,
      4u << 16 | 43,
      UINT,
      GIVEN,
      2,
      4u << 16 | 43,
      UINT,
      DEFAULT,
      30,
      4u << 16 | 43,
      UINT,
      TWO,
      2,
      3u << 16 | 41,
      BOOL,
      IS_TWO,  // OpConstantTrue
      4u << 16 | 43,
      UINT,
      SUM,
      32,
  };
  ck_assert_uint_eq(size, sizeof(expected));
  ck_assert_mem_eq(words, expected, sizeof(expected));
  free(words);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("storage types on Vulkan devices");
  TCase *tests = tcase_create("conversions and specialisation");
  tcase_add_test(tests, float_types_are_converted_as_on_the_host);
  tcase_add_test(tests, specialised_kernels_have_no_constants_left_open);
  tcase_add_test(tests, operations_on_constants_are_evaluated);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
