// A template's text cut into tokens: text as it is between {{ }}, {% %} and {# #}, and the words within them.
//
// White space around statements goes as Jinja takes it away with trim_blocks and lstrip_blocks: the line end after a
// statement or comment, blanks before one that begins its line; "-" takes all white space on its side, "+" none.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "data/template_parts.h"

enum { brackets_most = 200 };

typedef struct lexer {
  dure_template_arena *arena;
  const char *name, *text;
  size_t length, at;
  uint32_t line;
  bool begins_line;  // what came before ended with a line
  dure_template_tokens tokens;
} lexer;

static dure_status fail(const lexer *lex, const char *what) {
  return dure_template_fail(lex->name, lex->line, DURE_CORRUPT, "%s", what);
}

static dure_status add(lexer *lex, dure_template_token_kind kind, const char *text, size_t length) {
  dure_template_tokens *tokens = &lex->tokens;
  if (tokens->count == tokens->capacity) {
    dure_template_token *larger;
    const size_t capacity = tokens->capacity > 0 ? 2 * tokens->capacity : 64;
    DURE_TRY(dure_template_allocate(lex->arena, capacity * sizeof(*larger), &larger));
    if (tokens->count > 0) memcpy(larger, tokens->tokens, tokens->count * sizeof(*larger));
    tokens->tokens = larger;
    tokens->capacity = capacity;
  }
  tokens->tokens[tokens->count++] =
      (dure_template_token){.kind = kind, .line = lex->line, .text = text, .length = length};
  return NULL;
}

static void advance(lexer *lex, size_t count) {
  for (size_t i = 0; i < count; i++) lex->line += lex->text[lex->at + i] == '\n';
  if (count > 0) lex->begins_line = lex->text[lex->at + count - 1] == '\n';
  lex->at += count;
}

static void skip_spaces(lexer *lex) {
  size_t bytes;
  while (dure_template_space_at(lex->text + lex->at, lex->length - lex->at, &bytes)) advance(lex, bytes);
}

static bool starts_with(const lexer *lex, const char *what) {
  const size_t length = strlen(what);
  return lex->length - lex->at >= length && memcmp(lex->text + lex->at, what, length) == 0;
}

// The text before a tag at `end`, without the white space that the tag takes.
static dure_status add_data(lexer *lex, size_t end, bool is_variable) {
  const char *text = lex->text + lex->at;
  size_t length = end - lex->at;
  const char sign = end + 2 < lex->length ? lex->text[end + 2] : ' ';
  if (sign == '-') {
    length =
        dure_template_strip(&(dure_template_value){.kind = DURE_VALUE_TEXT, .text = text, .length = (uint32_t)length},
                            NULL, DURE_SIDE_RIGHT)
            .length;
  } else if (sign != '+' && !is_variable) {
    size_t line = length, bytes;
    while (line > 0 && text[line - 1] != '\n') line--;
    size_t blank = line;
    while (blank < length && dure_template_space_at(text + blank, length - blank, &bytes)) blank += bytes;
    if (blank == length && (line > 0 || lex->begins_line)) length = line;
  }
  if (length > 0) DURE_TRY(add(lex, DURE_LEXEME_DATA, text, length));
  advance(lex, end - lex->at);
  return NULL;
}

// Past the end of a tag; what follows it that the tag takes is gone too.
static void end_tag(lexer *lex, bool strips, bool trims_line) {
  advance(lex, 2);
  if (strips) {
    skip_spaces(lex);
  } else if (trims_line && lex->at < lex->length && lex->text[lex->at] == '\n') {
    advance(lex, 1);
  }
}

static dure_status skip_comment(lexer *lex) {
  const char *begin = lex->text + lex->at, *end = strstr(begin + 2, "#}");
  if (end == NULL) return fail(lex, "a comment \"{#\" without its \"#}\"");
  const char sign = end > begin + 2 ? end[-1] : ' ';
  advance(lex, (size_t)(end - begin));
  end_tag(lex, sign == '-', sign != '+');
  return NULL;
}

// ---- within a tag --------------------------------------------------------------------------------------------------

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static dure_status lex_number(lexer *lex) {
  char copy[64];
  size_t size = 0, used = 0;
  bool is_real = false;
  const char *text = lex->text + lex->at;
  const size_t left = lex->length - lex->at;
  for (; used < left; used++) {
    const char c = text[used], next = used + 1 < left ? text[used + 1] : ' ';
    const bool begins_fraction = c == '.' && !is_real && is_digit(next);
    const char after = used + 2 < left ? text[used + 2] : ' ';
    const bool begins_exponent =
        (c == 'e' || c == 'E') && (is_digit(next) || ((next == '-' || next == '+') && is_digit(after)));
    if (c == '_' && is_digit(next)) continue;
    if (!is_digit(c) && !begins_fraction && !begins_exponent) break;
    if (size + 2 >= sizeof(copy)) return fail(lex, "a number of too many digits");
    is_real = is_real || begins_fraction || begins_exponent;
    copy[size++] = c;
    if (begins_exponent && !is_digit(next)) copy[size++] = text[++used];
  }
  copy[size] = '\0';
  if (used < left && is_letter(text[used])) return fail(lex, "a number that is none");
  DURE_TRY(add(lex, is_real ? DURE_LEXEME_NUMBER : DURE_LEXEME_INTEGER, text, used));
  dure_template_token *token = &lex->tokens.tokens[lex->tokens.count - 1];
  if (is_real) {
    token->number = strtod(copy, NULL);
  } else {
    errno = 0;
    token->integer = strtoll(copy, NULL, 10);
    if (errno != 0) return fail(lex, "a whole number beyond 64 bits");
  }
  advance(lex, used);
  return NULL;
}

static size_t put_character(uint32_t code, char *out) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  const size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const uint8_t heads[] = {0, 0xC0, 0xE0, 0xF0};
  out[0] = (char)(heads[more] | (code >> (6 * more)));
  for (size_t i = 1; i <= more; i++) out[i] = (char)(0x80 | ((code >> (6 * (more - i))) & 0x3F));
  return more + 1;
}

// The character that `digits` hexadecimal digits name; false when there is none.
static bool read_code(const char *text, size_t left, size_t digits, uint32_t *out_code) {
  char copy[9] = {0};
  if (left < digits) return false;
  memcpy(copy, text, digits);
  if (strspn(copy, "0123456789abcdefABCDEF") != digits) return false;
  *out_code = (uint32_t)strtoul(copy, NULL, 16);
  return *out_code <= 0x10FFFF && !(*out_code >= 0xD800 && *out_code <= 0xDFFF);
}

// One escape, after its backslash: the bytes taken, 0 for one that names no character.
static size_t unescape(const char *text, size_t left, char *out, size_t *out_size) {
  static const char plain[][2] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''},
                                  {'"', '"'},  {'a', '\a'}, {'b', '\b'}, {'f', '\f'},  {'v', '\v'}};
  *out_size = 1;
  for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
    out[0] = plain[i][1];
    if (text[0] == plain[i][0]) return 1;
  }
  uint32_t code = 0;
  const size_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
  if (digits > 0) {
    if (!read_code(text + 1, left - 1, digits, &code)) return 0;
    *out_size = put_character(code, out);
    return digits + 1;
  }
  size_t used = 0;
  while (used < 3 && used < left && text[used] >= '0' && text[used] <= '7')
    code = 8 * code + (uint32_t)(text[used++] - '0');
  if (used > 0) {
    *out_size = put_character(code, out);
    return used;
  }
  *out_size = text[0] == '\n' ? 0 : 2;  // a line that goes on; an escape that is none stays
  out[0] = '\\';
  out[1] = text[0];
  return 1;
}

static dure_status lex_text(lexer *lex) {
  const char *text = lex->text + lex->at;
  const size_t left = lex->length - lex->at;
  size_t end = 1, size = 0;
  while (end < left && text[end] != text[0]) end += text[end] == '\\' && end + 1 < left ? 2 : 1;
  if (end >= left) return fail(lex, "a text without its closing quote");
  char *copy;
  DURE_TRY(dure_template_allocate(lex->arena, end + 1, &copy));
  for (size_t i = 1; i < end;) {
    size_t written = 1;
    if (text[i] != '\\') {
      copy[size++] = text[i++];
      continue;
    }
    const size_t used = unescape(text + i + 1, end - i - 1, copy + size, &written);
    if (used == 0) return fail(lex, "an escape that names no character");
    i += 1 + used;
    size += written;
  }
  DURE_TRY(add(lex, DURE_LEXEME_TEXT, copy, size));
  advance(lex, end + 1);
  return NULL;
}

static dure_status lex_operator(lexer *lex, char *brackets, size_t *depth) {
  static const char *const operators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<",
                                          ">",  "=",  "(",  ")",  "[",  "]",  "{", "}", ".", ":", "|", ","};
  const char *text = lex->text + lex->at;
  size_t length = 0;
  for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]) && length == 0; i++)
    length = starts_with(lex, operators[i]) ? strlen(operators[i]) : 0;
  if (length == 0) return fail(lex, "a character that has no meaning within a tag");
  const char c = length == 1 ? text[0] : ' ';
  if (c == '(' || c == '[' || c == '{') {
    if (*depth == brackets_most) return fail(lex, "too many brackets within each other");
    brackets[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (c == ')' || c == ']' || c == '}') {
    if (*depth == 0 || brackets[--*depth] != c) return fail(lex, "a closing bracket without its opening one");
  }
  DURE_TRY(add(lex, DURE_LEXEME_OPERATOR, text, length));
  advance(lex, length);
  return NULL;
}

static dure_status lex_word(lexer *lex, char *brackets, size_t *depth) {
  const char *text = lex->text + lex->at;
  if (is_letter(text[0])) {
    size_t length = 1;
    while (lex->at + length < lex->length && (is_letter(text[length]) || is_digit(text[length]))) length++;
    DURE_TRY(add(lex, DURE_LEXEME_NAME, text, length));
    advance(lex, length);
    return NULL;
  }
  if (is_digit(text[0])) return lex_number(lex);
  if (text[0] == '"' || text[0] == '\'') return lex_text(lex);
  return lex_operator(lex, brackets, depth);
}

// The words of a tag up to its end.
static dure_status lex_tag(lexer *lex, bool is_variable) {
  const char *end = is_variable ? "}}" : "%}";
  char brackets[brackets_most];
  size_t depth = 0;
  DURE_TRY(add(lex, is_variable ? DURE_LEXEME_VARIABLE_BEGIN : DURE_LEXEME_BLOCK_BEGIN, lex->text + lex->at, 2));
  advance(lex, 2);
  if (lex->at < lex->length && (lex->text[lex->at] == '-' || (lex->text[lex->at] == '+' && !is_variable)))
    advance(lex, 1);
  for (;;) {
    skip_spaces(lex);
    if (lex->at >= lex->length)
      return fail(lex, is_variable ? "\"{{\" without its \"}}\"" : "\"{%\" without its \"%}\"");
    const char sign = lex->text[lex->at];
    const bool has_sign = depth == 0 && (sign == '-' || (sign == '+' && !is_variable)) && lex->length - lex->at > 2 &&
                          memcmp(lex->text + lex->at + 1, end, 2) == 0;
    if (has_sign) advance(lex, 1);
    if (has_sign || (depth == 0 && starts_with(lex, end))) {
      DURE_TRY(add(lex, is_variable ? DURE_LEXEME_VARIABLE_END : DURE_LEXEME_BLOCK_END, lex->text + lex->at, 2));
      end_tag(lex, has_sign && sign == '-', !is_variable && !(has_sign && sign == '+'));
      return NULL;
    }
    DURE_TRY(lex_word(lex, brackets, &depth));
  }
}

// ---- raw -----------------------------------------------------------------------------------------------------------

// The length of a tag of one word ("raw") at `at`, 0 for any other; whether its ends have a "-".
static size_t word_tag(const lexer *lex, size_t at, const char *word, bool *out_strips) {
  const char *text = lex->text + at;
  const size_t left = lex->length - at;
  size_t i = 2;
  if (left < 4 || memcmp(text, "{%", 2) != 0) return 0;
  if (text[i] == '-' || text[i] == '+') i++;
  while (i < left && strchr(" \t\n", text[i]) != NULL) i++;
  if (left - i < strlen(word) + 2 || memcmp(text + i, word, strlen(word)) != 0) return 0;
  i += strlen(word);
  while (i < left && strchr(" \t\n", text[i]) != NULL) i++;
  *out_strips = i < left && text[i] == '-';
  if (i < left && (text[i] == '-' || text[i] == '+')) i++;
  return left - i >= 2 && memcmp(text + i, "%}", 2) == 0 ? i : 0;
}

static dure_status lex_raw(lexer *lex, size_t tag, bool strips) {
  advance(lex, tag);
  end_tag(lex, strips, false);
  for (size_t at = lex->at; at < lex->length; at++) {
    const size_t end = word_tag(lex, at, "endraw", &strips);
    if (end == 0) continue;
    DURE_TRY(add_data(lex, at, false));
    const char sign = lex->text[lex->at + end - 1];
    advance(lex, end);
    end_tag(lex, strips, sign != '+');
    return NULL;
  }
  return fail(lex, "\"{% raw %}\" without its \"{% endraw %}\"");
}

static dure_status lex_next(lexer *lex) {
  size_t begin = lex->at;
  while (begin + 1 < lex->length &&
         !(lex->text[begin] == '{' && lex->text[begin + 1] != '\0' && strchr("{%#", lex->text[begin + 1]) != NULL))
    begin++;
  if (begin + 1 >= lex->length) {
    DURE_TRY(add(lex, DURE_LEXEME_DATA, lex->text + lex->at, lex->length - lex->at));
    advance(lex, lex->length - lex->at);
    return NULL;
  }
  const char kind = lex->text[begin + 1];
  bool strips = false;
  DURE_TRY(add_data(lex, begin, kind == '{'));
  if (kind == '#') return skip_comment(lex);
  const size_t raw = word_tag(lex, lex->at, "raw", &strips);
  return raw > 0 ? lex_raw(lex, raw, strips) : lex_tag(lex, kind == '{');
}

dure_status dure_template_lex(dure_template_arena *arena, const char *name, const char *text, size_t length,
                              dure_template_tokens *out_tokens) {
  lexer lex = {.arena = arena, .name = name, .text = text, .length = length, .line = 1, .begins_line = true};
  while (lex.at < lex.length) DURE_TRY(lex_next(&lex));
  DURE_TRY(add(&lex, DURE_LEXEME_END, "", 0));
  *out_tokens = lex.tokens;
  return NULL;
}
