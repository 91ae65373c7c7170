#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/pretokenize.h"
#include "data/tokenizer_json_text.h"

// ---- writing ----

void dure_json_put(dure_bytes *out, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= sizeof(text)) {
    out->is_failed = true;
    return;
  }
  dure_bytes_append(out, text, (size_t)length);
}

void dure_json_put_string(dure_bytes *out, const char *text, size_t length) {
  dure_bytes_append(out, "\"", 1);
  for (size_t i = 0; i < length; i++) {
    uint8_t c = (uint8_t)text[i];
    if (c == '"' || c == '\\') dure_bytes_append(out, "\\", 1);
    if (c < 0x20 || c == 0x7F) {
      dure_json_put(out, "\\u%04x", (unsigned)c);
    } else {
      dure_bytes_append(out, text + i, 1);
    }
  }
  dure_bytes_append(out, "\"", 1);
}

void dure_json_put_added(dure_bytes *out, bool *is_first, const char *text, size_t length, unsigned id,
                         bool is_special) {
  dure_json_put(out, "%s{\"id\":%u,\"content\":", *is_first ? "" : ",", id);
  dure_json_put_string(out, text, length);
  dure_json_put(out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}\n",
                is_special ? "true" : "false");
  *is_first = false;
}

dure_status dure_json_finish(dure_bytes *out, char **out_json, size_t *out_length) {
  *out_length = out->size;
  dure_bytes_append(out, "", 1);
  dure_status status = dure_bytes_status(out);
  *out_json = status == NULL ? out->data : NULL;
  if (status != NULL) {
    dure_bytes_free(out);
    *out_length = 0;
  }
  *out = (dure_bytes){0};
  return status;
}

// ---- patterns ----

#define LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define ENDS "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define LLAMA3 CONTRACTIONS "|" LETTERS "|\\p{N}{1,3}" REST ENDS
#define QWEN CONTRACTIONS "|" LETTERS "|\\p{N}" REST ENDS
// Qwen 3.5 and 3.6: marks belong to letters.
#define QWEN35 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" ENDS
// White space at the very end is one piece, line breaks or not.
#define CL100K CONTRACTIONS "|" LETTERS "|\\p{N}{1,3}" REST "|\\s++\\z" ENDS
#define O200K                                                                          \
  BEFORE UPPER "*" LOWER "+" CONTRACTIONS "?|" BEFORE UPPER "+" LOWER "*" CONTRACTIONS \
               "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" ENDS

static const dure_special_run gpt2_specials[] = {{"<|endoftext|>", 50256, 0, 0}, {NULL, 0, 0, 0}};
static const dure_special_run p50k_edit_specials[] = {{"<|endoftext|>", 50256, 0, 0},
                                                      {"<|fim_prefix|>", 50281, 0, 0},
                                                      {"<|fim_middle|>", 50282, 0, 0},
                                                      {"<|fim_suffix|>", 50283, 0, 0},
                                                      {NULL, 0, 0, 0}};
static const dure_special_run cl100k_specials[] = {{"<|endoftext|>", 100257, 0, 0},   {"<|fim_prefix|>", 100258, 0, 0},
                                                   {"<|fim_middle|>", 100259, 0, 0},  {"<|fim_suffix|>", 100260, 0, 0},
                                                   {"<|endofprompt|>", 100276, 0, 0}, {NULL, 0, 0, 0}};
static const dure_special_run o200k_specials[] = {
    {"<|endoftext|>", 199999, 0, 0}, {"<|endofprompt|>", 200018, 0, 0}, {NULL, 0, 0, 0}};
static const dure_special_run harmony_specials[] = {{"<|startoftext|>", 199998, 0, 0},
                                                    {"<|endoftext|>", 199999, 0, 0},
                                                    {"<|reserved_%u|>", 200000, 200000, 2},
                                                    {"<|return|>", 200002, 0, 0},
                                                    {"<|constrain|>", 200003, 0, 0},
                                                    {"<|reserved_%u|>", 200004, 200004, 1},
                                                    {"<|channel|>", 200005, 0, 0},
                                                    {"<|start|>", 200006, 0, 0},
                                                    {"<|end|>", 200007, 0, 0},
                                                    {"<|message|>", 200008, 0, 0},
                                                    {"<|reserved_%u|>", 200009, 200009, 3},
                                                    {"<|call|>", 200012, 0, 0},
                                                    {"<|reserved_%u|>", 200013, 200013, 5},
                                                    {"<|endofprompt|>", 200018, 0, 0},
                                                    {"<|reserved_%u|>", 200019, 200019, 1069},
                                                    {NULL, 0, 0, 0}};
static const dure_special_run llama3_specials[] = {{"<|begin_of_text|>", 128000, 0, 0},
                                                   {"<|end_of_text|>", 128001, 0, 0},
                                                   {"<|reserved_special_token_%u|>", 128002, 0, 2},
                                                   {"<|finetune_right_pad_id|>", 128004, 0, 0},
                                                   {"<|step_id|>", 128005, 0, 0},
                                                   {"<|start_header_id|>", 128006, 0, 0},
                                                   {"<|end_header_id|>", 128007, 0, 0},
                                                   {"<|eom_id|>", 128008, 0, 0},
                                                   {"<|eot_id|>", 128009, 0, 0},
                                                   {"<|python_tag|>", 128010, 0, 0},
                                                   {"<|image|>", 128011, 0, 0},
                                                   {"<|reserved_special_token_%u|>", 128012, 2, 244},
                                                   {NULL, 0, 0, 0}};
static const dure_special_run llama4_specials[] = {{"<|begin_of_text|>", 200000, 0, 0},
                                                   {"<|end_of_text|>", 200001, 0, 0},
                                                   {"<|fim_prefix|>", 200002, 0, 0},
                                                   {"<|fim_middle|>", 200003, 0, 0},
                                                   {"<|fim_suffix|>", 200004, 0, 0},
                                                   {"<|header_start|>", 200005, 0, 0},
                                                   {"<|header_end|>", 200006, 0, 0},
                                                   {"<|eom|>", 200007, 0, 0},
                                                   {"<|eot|>", 200008, 0, 0},
                                                   {"<|step|>", 200009, 0, 0},
                                                   {"<|text_post_train_reserved_special_token_%u|>", 200010, 0, 6},
                                                   {"<|python_start|>", 200016, 0, 0},
                                                   {"<|python_end|>", 200017, 0, 0},
                                                   {"<|finetune_right_pad|>", 200018, 0, 0},
                                                   {"<|text_post_train_reserved_special_token_%u|>", 200019, 8, 61},
                                                   {"<|image_start|>", 200080, 0, 0},
                                                   {"<|image_end|>", 200081, 0, 0},
                                                   {"<|vision_reserved_special_token_%u|>", 200082, 0, 2},
                                                   {"<|tile_x_separator|>", 200084, 0, 0},
                                                   {"<|tile_y_separator|>", 200085, 0, 0},
                                                   {"<|vision_reserved_special_token_%u|>", 200086, 2, 4},
                                                   {"<|image|>", 200090, 0, 0},
                                                   {"<|vision_reserved_special_token_%u|>", 200091, 6, 1},
                                                   {"<|patch|>", 200092, 0, 0},
                                                   {"<|vision_reserved_special_token_%u|>", 200093, 7, 1041},
                                                   {"<|reasoning_reserved_special_token_%u|>", 201134, 0, 8},
                                                   {"<|reasoning_thinking_start|>", 201142, 0, 0},
                                                   {"<|reasoning_thinking_end|>", 201143, 0, 0},
                                                   {NULL, 0, 0, 0}};
static const dure_special_run qwen_specials[] = {{"<|endoftext|>", 151643, 0, 0},
                                                 {"<|im_start|>", 151644, 0, 0},
                                                 {"<|im_end|>", 151645, 0, 0},
                                                 {"<|extra_%u|>", 151646, 0, 205},
                                                 {NULL, 0, 0, 0}};
static const dure_special_run qwen2_specials[] = {
    {"<|endoftext|>", 151643, 0, 0}, {"<|im_start|>", 151644, 0, 0}, {"<|im_end|>", 151645, 0, 0}, {NULL, 0, 0, 0}};

static const dure_special_run qwen35_specials[] = {{"<|endoftext|>", 248044, 0, 0},
                                                   {"<|im_start|>", 248045, 0, 0},
                                                   {"<|im_end|>", 248046, 0, 0},
                                                   {"<|object_ref_start|>", 248047, 0, 0},
                                                   {"<|object_ref_end|>", 248048, 0, 0},
                                                   {"<|box_start|>", 248049, 0, 0},
                                                   {"<|box_end|>", 248050, 0, 0},
                                                   {"<|quad_start|>", 248051, 0, 0},
                                                   {"<|quad_end|>", 248052, 0, 0},
                                                   {"<|vision_start|>", 248053, 0, 0},
                                                   {"<|vision_end|>", 248054, 0, 0},
                                                   {"<|vision_pad|>", 248055, 0, 0},
                                                   {"<|image_pad|>", 248056, 0, 0},
                                                   {"<|video_pad|>", 248057, 0, 0},
                                                   {"<tool_call>", 248058, 0, 0},
                                                   {"</tool_call>", 248059, 0, 0},
                                                   {"<|fim_prefix|>", 248060, 0, 0},
                                                   {"<|fim_middle|>", 248061, 0, 0},
                                                   {"<|fim_suffix|>", 248062, 0, 0},
                                                   {"<|fim_pad|>", 248063, 0, 0},
                                                   {"<|repo_name|>", 248064, 0, 0},
                                                   {"<|file_sep|>", 248065, 0, 0},
                                                   {"<tool_response>", 248066, 0, 0},
                                                   {"</tool_response>", 248067, 0, 0},
                                                   {"<think>", 248068, 0, 0},
                                                   {"</think>", 248069, 0, 0},
                                                   {"<|audio_start|>", 248070, 0, 0},
                                                   {"<|audio_end|>", 248071, 0, 0},
                                                   {"<tts_pad>", 248072, 0, 0},
                                                   {"<tts_text_bos>", 248073, 0, 0},
                                                   {"<tts_text_eod>", 248074, 0, 0},
                                                   {"<tts_text_bos_single>", 248075, 0, 0},
                                                   {"<|audio_pad|>", 248076, 0, 0},
                                                   {NULL, 0, 0, 0}};

static const dure_named_pattern patterns[] = {
    {"gpt2", DURE_GPT2_PATTERN, false, NULL, gpt2_specials},
    {"r50k_base", DURE_GPT2_PATTERN, false, NULL, gpt2_specials},
    {"p50k_base", DURE_GPT2_PATTERN, false, NULL, gpt2_specials},
    {"p50k_edit", DURE_GPT2_PATTERN, false, NULL, p50k_edit_specials},
    {"cl100k_base", CL100K, false, NULL, cl100k_specials},
    {"o200k_base", O200K, false, NULL, o200k_specials},
    {"o200k_harmony", O200K, false, NULL, harmony_specials},
    {"llama3", LLAMA3, false, "<|begin_of_text|>", llama3_specials},
    {"llama4", O200K, false, "<|begin_of_text|>", llama4_specials},
    {"qwen", QWEN, true, NULL, qwen_specials},
    {"qwen2", QWEN, true, NULL, qwen2_specials},
    {"qwen3_5", QWEN35, true, NULL, qwen35_specials},
};
enum { pattern_count = sizeof(patterns) / sizeof(patterns[0]) };

dure_status dure_named_pattern_find(const char *name, const char *file_name, size_t rank_count,
                                    const dure_named_pattern **out_pattern) {
  char names[256] = "";
  *out_pattern = NULL;
  for (size_t i = 0; i < pattern_count; i++) {
    size_t length = strlen(patterns[i].name);
    bool is_file = name == NULL && strncmp(file_name, patterns[i].name, length) == 0 &&
                   (file_name[length] == '.' || file_name[length] == '\0');
    if (is_file || (name != NULL && strcmp(name, patterns[i].name) == 0)) {
      *out_pattern = &patterns[i];
      return NULL;
    }
    snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i > 0 ? ", " : "", patterns[i].name);
  }
  if (name != NULL)
    return dure_fail(DURE_UNSUPPORTED, "the pattern \"%.100s\" is not known; supported: %s", name, names);
  // Published as "tokenizer.model".
  if (rank_count == 128000 || rank_count == 200000)
    return dure_named_pattern_find(rank_count == 128000 ? "llama3" : "llama4", "", 0, out_pattern);
  return dure_fail(
      DURE_UNSUPPORTED,
      "%zu ranks of tiktoken without the pattern that cuts text; name it (--pattern NAME, or a file called "
      "NAME.tiktoken): %s",
      rank_count, names);
}

static void put_specials(const dure_named_pattern *pattern, dure_bytes *out) {
  bool is_first = true;
  dure_json_put(out, "\"added_tokens\":[\n");
  for (const dure_special_run *run = pattern->specials; run->name != NULL; run++) {
    for (unsigned i = 0; i < (run->count > 0 ? run->count : 1); i++) {
      const char *number = strstr(run->name, "%u");
      size_t before = number != NULL ? (size_t)(number - run->name) : strlen(run->name);
      char text[128];
      int length = number != NULL
                       ? snprintf(text, sizeof(text), "%.*s%u%s", (int)before, run->name, run->first + i, number + 2)
                       : snprintf(text, sizeof(text), "%s", run->name);
      dure_json_put_added(out, &is_first, text, (size_t)length, run->id + i, true);
    }
  }
  dure_json_put(out, "],\n");
}

void dure_named_pattern_put(const dure_named_pattern *pattern, dure_bytes *out) {
  bool is_gpt2 = strcmp(pattern->expression, DURE_GPT2_PATTERN) == 0;
  put_specials(pattern, out);
  dure_json_put(out, "\"normalizer\":%s,\n\"pre_tokenizer\":", pattern->has_nfc ? "{\"type\":\"NFC\"}" : "null");
  if (!is_gpt2) {
    dure_json_put(out, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    dure_json_put_string(out, pattern->expression, strlen(pattern->expression));
    dure_json_put(out, "},\"behavior\":\"Isolated\",\"invert\":false},");
  }
  dure_json_put(out, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":%s}%s,\n",
                is_gpt2 ? "true" : "false", is_gpt2 ? "" : "]}");
  if (pattern->beginning != NULL) {
    const char *name = pattern->beginning;
    dure_json_put(out,
                  "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"%s\","
                  "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\n",
                  name);
    dure_json_put(
        out,
        "\"pair\":[{\"SpecialToken\":{\"id\":\"%s\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
        "{\"SpecialToken\":{\"id\":\"%s\",\"type_id\":1}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\n",
        name, name);
    dure_json_put(out, "\"special_tokens\":{\"%s\":{\"id\":\"%s\",\"ids\":[%u],\"tokens\":[\"%s\"]}}},\n", name, name,
                  pattern->specials[0].id, name);
  } else {
    dure_json_put(out, "\"post_processor\":null,\n");
  }
  dure_json_put(out,
                "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,"
                "\"use_regex\":false},\n");
}
