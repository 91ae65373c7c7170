#include "data/personal_data.h"

#include <string.h>

enum { DIGIT_LIMIT = 24 };

static const struct {
  const char *name, *word;
} kinds[DURE_PERSONAL_COUNT] = {
    [DURE_PERSONAL_MAIL] = {"mail", "[email]"},
    [DURE_PERSONAL_PHONE] = {"phone", "[phone]"},
    [DURE_PERSONAL_RESIDENT_NUMBER] = {"resident_number", "[resident-number]"},
    [DURE_PERSONAL_CARD] = {"card_number", "[card-number]"},
};

const char *dure_personal_name(dure_personal_kind kind) { return kinds[kind].name; }

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
static bool is_letter(char byte) { return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'); }

// ---- mail ----

static bool is_local(char byte) {
  return is_letter(byte) || is_digit(byte) || (byte != '\0' && strchr("._%+-", byte) != NULL);
}

// Around the @ at `at`: where the address begins, not before `low`, and ends. False when it is none.
static bool find_mail(const char *text, size_t size, size_t low, size_t at, size_t *out_start, size_t *out_end) {
  size_t start = at, end = at + 1, last_dot = 0;
  while (start > low && at - start < 64 && is_local(text[start - 1])) start--;
  while (start < at && text[start] == '.') start++;
  while (end < size && end - at < 255 && (is_letter(text[end]) || is_digit(text[end]) || strchr(".-", text[end]))) {
    if (text[end] == '\0') break;
    if (text[end] == '.' && end + 1 < size && is_letter(text[end + 1])) last_dot = end;
    end++;
  }
  while (end > at && (text[end - 1] == '.' || text[end - 1] == '-')) end--;
  size_t letters = 0;
  while (last_dot > 0 && last_dot + 1 + letters < end && is_letter(text[last_dot + 1 + letters])) letters++;
  *out_start = start;
  *out_end = last_dot + 1 + letters;
  return start < at && last_dot > at + 1 && letters >= 2;
}

// ---- numbers ----

// A run of digits in groups: separators of one character, or ") " and similar of two, stand between groups.
typedef struct number {
  size_t end;  // behind the last digit
  size_t count, groups;
  char digits[DIGIT_LIMIT];
  size_t group_sizes[DIGIT_LIMIT];
  char separators[DIGIT_LIMIT];  // before each group but the first
  bool has_plus;
} number;

static size_t separator_length(const char *text, size_t size, size_t position) {
  size_t length = 0;
  while (length < 2 && position + length < size && text[position + length] != '\0' &&
         strchr("-. )(", text[position + length]) != NULL) {
    length++;
  }
  return position + length < size && is_digit(text[position + length]) ? length : 0;
}

static bool read_number(const char *text, size_t size, size_t start, number *out) {
  *out = (number){.has_plus = text[start] == '+'};
  size_t i = start + (text[start] == '+' || text[start] == '(');
  for (;;) {
    size_t group = i;
    while (i < size && is_digit(text[i]) && out->count < DIGIT_LIMIT) out->digits[out->count++] = text[i++];
    if (i == group || (i < size && is_digit(text[i])) || out->groups == DIGIT_LIMIT) return false;
    out->group_sizes[out->groups++] = i - group;
    out->end = i;
    size_t separator = separator_length(text, size, i);
    if (separator == 0 || out->groups == 8 || out->count == DIGIT_LIMIT) return true;
    out->separators[out->groups] = text[i];
    i += separator;
  }
}

static int value_of(const char *digits, size_t count) {
  int value = 0;
  for (size_t i = 0; i < count; i++) value = value * 10 + (digits[i] - '0');
  return value;
}

// Six digits of a date and seven more, the first of which gives century and sex, the last of which checks the others.
static bool is_resident_number(const number *found) {
  bool is_shaped =
      found->count == 13 && (found->groups == 1 || (found->groups == 2 && found->group_sizes[0] == 6 &&
                                                    (found->separators[1] == '-' || found->separators[1] == ' ')));
  if (!is_shaped) return false;
  int month = value_of(found->digits + 2, 2), day = value_of(found->digits + 4, 2);
  if (month < 1 || month > 12 || day < 1 || day > 31) return false;
  static const int weights[] = {2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5};
  int sum = 0;
  for (int i = 0; i < 12; i++) sum += (found->digits[i] - '0') * weights[i];
  int century = found->digits[6] - '0', check = (11 - sum % 11) % 10;
  bool is_foreign = century >= 5 && century <= 8;
  if (is_foreign) check = (check + 2) % 10;
  return check == found->digits[12] - '0';
}

static bool is_card_number(const number *found) {
  if (found->count < 13 || found->count > 19 || found->has_plus) return false;
  if (found->groups > 1 && (found->groups > 5 || found->group_sizes[0] != 4)) return false;
  int prefix = value_of(found->digits, 4);
  bool is_issued = (prefix >= 3000 && prefix <= 3059) || (prefix >= 3400 && prefix <= 3999) ||
                   (prefix >= 4000 && prefix <= 5999) || (prefix >= 2221 && prefix <= 2720) ||
                   (prefix >= 6000 && prefix <= 6599) || (prefix >= 9400 && prefix <= 9499);
  int sum = 0;
  for (size_t i = 0; i < found->count; i++) {
    int digit = found->digits[found->count - 1 - i] - '0';
    if (i % 2 == 1) digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
    sum += digit;
  }
  return is_issued && sum % 10 == 0;
}

static bool groups_are(const number *found, size_t from, size_t least, size_t most, size_t last) {
  return found->groups == from + 2 && found->group_sizes[from] >= least && found->group_sizes[from] <= most &&
         found->group_sizes[from + 1] == last;
}

// Numbers of Korea begin with 0; written without separators only mobile ones are taken (010, 011, 016 to 019).
static bool is_korean_phone(const number *found) {
  const char *digits = found->digits;
  if (digits[0] != '0') return false;
  bool is_mobile = found->count >= 10 && found->count <= 11 && digits[1] == '1' && strchr("016789", digits[2]) != NULL;
  if (found->groups == 1) return is_mobile && found->count == 11;
  bool is_area = digits[1] == '2' ? found->group_sizes[0] == 2
                                  : found->group_sizes[0] == 3 && digits[1] >= '3' && digits[1] <= '8';
  bool is_code = is_area || (is_mobile && found->group_sizes[0] == 3);
  return is_code && groups_are(found, 1, 3, 4, 4);
}

static bool is_phone(const number *found, bool has_bracket) {
  if (found->has_plus) {
    bool is_code = found->groups > 1 ? found->group_sizes[0] <= 3 : true;
    return is_code && found->count >= 9 && found->count <= 15;
  }
  if (is_korean_phone(found)) return true;
  // Representative numbers (1588-1234); (212) 555-0123 and 212-555-0123.
  if (found->groups == 2 && found->count == 8 && found->group_sizes[0] == 4 && found->separators[1] == '-') {
    int prefix = value_of(found->digits, 4);
    return prefix >= 1500 && prefix <= 1899 && (prefix % 100 >= 44 || prefix == 1600);
  }
  bool is_american = found->groups == 3 && found->group_sizes[0] == 3 && groups_are(found, 1, 3, 3, 4);
  return is_american && found->digits[0] >= '2' && found->digits[3] >= '2' &&
         (has_bracket || found->separators[2] != ' ');
}

static dure_personal_kind kind_of(const number *found, bool has_bracket) {
  if (is_resident_number(found)) return DURE_PERSONAL_RESIDENT_NUMBER;
  if (is_card_number(found)) return DURE_PERSONAL_CARD;
  return is_phone(found, has_bracket) ? DURE_PERSONAL_PHONE : DURE_PERSONAL_COUNT;
}

// Digits may not follow letters, digits, or the signs that join numbers: those are parts of something else.
static bool may_begin(const char *text, size_t position) {
  if (position == 0) return true;
  char before = text[position - 1];
  return !is_letter(before) && !is_digit(before) && strchr("-.+_/=#&%", before) == NULL;
}

// ---- the text ----

void dure_personal_data_remove(const char *text, size_t size, dure_bytes *out, uint64_t counts[DURE_PERSONAL_COUNT]) {
  size_t copied = 0;
  for (size_t i = 0; i < size; i++) {
    char byte = text[i];
    size_t start = i, end = i;
    dure_personal_kind kind = DURE_PERSONAL_COUNT;
    if (byte == '@') {
      if (find_mail(text, size, copied, i, &start, &end)) kind = DURE_PERSONAL_MAIL;
    } else if ((is_digit(byte) || byte == '+' || byte == '(') && may_begin(text, i)) {
      number found;
      bool is_number =
          (is_digit(byte) || (i + 1 < size && is_digit(text[i + 1]))) && read_number(text, size, i, &found);
      bool is_alone = is_number && (found.end == size || !(is_letter(text[found.end]) || text[found.end] == '_'));
      if (is_alone) kind = kind_of(&found, byte == '(');
      if (is_alone && kind != DURE_PERSONAL_COUNT) end = found.end;
    }
    if (kind == DURE_PERSONAL_COUNT) continue;
    dure_bytes_append(out, text + copied, start - copied);
    dure_bytes_append_text(out, kinds[kind].word);
    counts[kind]++;
    copied = end;
    i = end - 1;
  }
  dure_bytes_append(out, text + copied, size - copied);
}
