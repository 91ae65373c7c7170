// Markdown (CommonMark's lines, not its whole grammar), a line at a time.
#include <string.h>

#include "data/markup.h"

typedef struct line {
  const char *text;
  size_t size;  // without the newline
} line;

static line next_line(const char *text, size_t size, size_t *position) {
  const char *start = text + *position, *newline = memchr(start, '\n', size - *position);
  size_t length = newline != NULL ? (size_t)(newline - start) : size - *position;
  *position += length + (newline != NULL);
  return (line){start, length};
}

static bool is_line(line candidate, const char *text) {
  size_t length = strlen(text);
  while (candidate.size > length && strchr(" \t\r", candidate.text[candidate.size - 1]) != NULL) candidate.size--;
  return candidate.size == length && memcmp(candidate.text, text, length) == 0;
}

// Length of front matter: settings between two lines of --- or +++ at the very beginning.
static size_t front_matter(const char *text, size_t size) {
  size_t position = 0;
  line first = next_line(text, size, &position);
  const char *fence = is_line(first, "---") ? "---" : is_line(first, "+++") ? "+++" : NULL;
  if (fence == NULL) return 0;
  while (position < size) {
    if (is_line(next_line(text, size, &position), fence)) return position;
  }
  return 0;
}

static line without_indentation(line candidate) {
  while (candidate.size > 0 && (*candidate.text == ' ' || *candidate.text == '\t')) {
    candidate.text++;
    candidate.size--;
  }
  return candidate;
}

// The run of ` or ~ that begins or ends a code block; 0 for none.
static size_t fence_length(line candidate) {
  line bare = without_indentation(candidate);
  size_t run = 0;
  while (run < bare.size && bare.text[run] == bare.text[0] && (bare.text[0] == '`' || bare.text[0] == '~')) run++;
  return run >= 3 ? run : 0;
}

// [name]: address
static bool is_definition(line candidate) {
  line bare = without_indentation(candidate);
  if (candidate.size - bare.size > 3 || bare.size < 4 || bare.text[0] != '[' || bare.text[1] == '^') return false;
  const char *close = memchr(bare.text, ']', bare.size);
  return close != NULL && (size_t)(close - bare.text) + 1 < bare.size && close[1] == ':';
}

// A line of = or - under a heading.
static bool is_underline(line candidate) {
  size_t run = 0;
  while (run < candidate.size && candidate.text[run] == candidate.text[0]) run++;
  while (run < candidate.size && strchr(" \t\r", candidate.text[run]) != NULL) run++;
  return candidate.size >= 3 && run == candidate.size && (candidate.text[0] == '=' || candidate.text[0] == '-');
}

// Where the bracket that is opened at `start` closes; `size` when it does not.
static size_t closing(const char *text, size_t size, size_t start, char open, char close) {
  size_t depth = 0;
  for (size_t i = start; i < size; i++) {
    if (text[i] == '\\') {
      i++;
    } else if (text[i] == open) {
      depth++;
    } else if (text[i] == close && --depth == 0) {
      return i;
    }
  }
  return size;
}

// Running text: `code` as it is, [text](address) and [text][name] without the address, ![picture](address) likewise.
static void append_running_text(line running, dure_bytes *out) {
  const char *text = running.text;
  size_t size = running.size, copied = 0;
  for (size_t i = 0; i < size; i++) {
    if (text[i] == '`') {
      const char *end = memchr(text + i + 1, '`', size - i - 1);
      if (end == NULL) break;
      i = (size_t)(end - text);
      continue;
    }
    bool is_picture = text[i] == '!' && i + 1 < size && text[i + 1] == '[';
    if (text[i] != '[' && !is_picture) continue;
    size_t open = i + is_picture, close = size - open > 4096 ? size : closing(text, size, open, '[', ']');
    if (close + 1 >= size || (text[close + 1] != '(' && text[close + 1] != '[')) continue;
    bool is_address = text[close + 1] == '(';
    size_t end = closing(text, size, close + 1, is_address ? '(' : '[', is_address ? ')' : ']');
    if (end == size) continue;
    dure_bytes_append(out, text + copied, i - copied);
    line inner = {text + open + 1, close - open - 1};
    // A picture inside a link, as badges are.
    if (inner.size > 1 && inner.text[0] == '!' && inner.text[1] == '[') inner.size = 0;
    dure_bytes_append(out, inner.text, inner.size);
    copied = end + 1;
    i = end;
  }
  dure_bytes_append(out, text + copied, size - copied);
}

static void append_line(line current, dure_bytes *out) {
  line bare = without_indentation(current);
  size_t signs = 0;
  while (signs < bare.size && bare.text[signs] == '#') signs++;
  bool is_heading = signs >= 1 && signs <= 6 && signs < bare.size && bare.text[signs] == ' ';
  if (is_heading) {
    current = without_indentation((line){bare.text + signs, bare.size - signs});
    while (current.size > 0 && strchr("# \r", current.text[current.size - 1]) != NULL) current.size--;
  }
  append_running_text(current, out);
  dure_bytes_append(out, "\n", 1);
}

// Takes the parts of a line that are comments away; `*is_comment` says whether one goes on to the next line.
static line without_comments(line current, bool *is_comment, dure_bytes *scratch) {
  dure_bytes_clear(scratch);
  size_t i = 0;
  while (i < current.size) {
    const char *mark = *is_comment ? "-->" : "<!--";
    size_t length = strlen(mark), found = i;
    while (found + length <= current.size && memcmp(current.text + found, mark, length) != 0) found++;
    bool is_found = found + length <= current.size;
    if (!*is_comment) dure_bytes_append(scratch, current.text + i, (is_found ? found : current.size) - i);
    if (!is_found) break;
    *is_comment = !*is_comment;
    i = found + length;
  }
  return (line){scratch->data != NULL ? scratch->data : "", scratch->size};
}

void dure_markdown_read(const char *text, size_t size, dure_bytes *out) {
  dure_bytes scratch = {0};
  size_t fence = 0;
  bool is_comment = false, was_text = false;
  for (size_t position = front_matter(text, size); position < size;) {
    line current = next_line(text, size, &position);
    size_t run = fence_length(current);
    if (fence > 0 || (run > 0 && !is_comment)) {
      fence = fence == 0 ? run : run >= fence ? 0 : fence;
      dure_bytes_append(out, current.text, current.size);
      dure_bytes_append(out, "\n", 1);
      continue;
    }
    bool had_comment = is_comment || memchr(current.text, '<', current.size) != NULL;
    if (had_comment) current = without_comments(current, &is_comment, &scratch);
    bool goes = is_definition(current) || (was_text && is_underline(current)) || (is_comment && current.size == 0);
    if (!goes) append_line(current, out);
    was_text = current.size > 0 && without_indentation(current).size > 0 && !goes;
  }
  out->is_failed = out->is_failed || scratch.is_failed;
  dure_bytes_free(&scratch);
}
