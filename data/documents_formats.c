// Tables: which formats there are, how each is known, and what reads it.
#include <string.h>
#include <strings.h>

#include "data/documents_internal.h"
#include "data/name_list.h"

// To add a format: its name in dure_format, its row here (in that order), its reader in a file of its own.
static const struct {
  const char *name;
  const char *extensions;  // separated by single spaces
  bool may_hold_nul;       // of itself, or its documents are looked at one by one
  dure_reader_function reader;
} formats[DURE_FORMAT_COUNT] = {
    [DURE_FORMAT_AUTO] = {"auto", "", false, NULL},
    [DURE_FORMAT_TEXT] = {"text", "txt text rst", false, dure_read_text},
    [DURE_FORMAT_HTML] = {"html", "html htm xhtml", true, dure_read_html},
    [DURE_FORMAT_XML] = {"xml", "page xml docbook dbk", true, dure_read_xml},
    [DURE_FORMAT_JSONL] = {"jsonl", "jsonl ndjson", false, dure_read_jsonl},
    [DURE_FORMAT_MARKDOWN] = {"markdown", "md markdown mkd", false, dure_read_markdown},
    [DURE_FORMAT_WARC] = {"warc", "warc wet", true, dure_read_warc},
    [DURE_FORMAT_CSV] = {"csv", "csv", false, dure_read_csv},
    [DURE_FORMAT_TSV] = {"tsv", "tsv", false, dure_read_tsv},
};

static const char compressions[] = "gz gzip zst zstd xz bz2 lz4";
static const char archives[] = "tar tgz tbz2 txz tzst zip";

const char *dure_format_name(dure_format format) { return formats[format].name; }
dure_reader_function dure_format_reader(dure_format format) { return formats[format].reader; }
bool dure_format_may_hold_nul(dure_format format) { return formats[format].may_hold_nul; }

// The extension of the first `length` bytes of a path; "" for none.
static const char *extension_of(const char *path, size_t length, size_t *out_length) {
  for (size_t i = length; i-- > 0 && path[i] != '/';) {
    if (path[i] != '.') continue;
    *out_length = length - i - 1;
    return path + i + 1;
  }
  *out_length = 0;
  return "";
}

static dure_format format_of_name(const char *path, size_t path_length) {
  size_t length;
  const char *extension = extension_of(path, path_length, &length);
  for (int i = 0; i < DURE_FORMAT_COUNT && length > 0; i++) {
    if (dure_name_is_listed(formats[i].extensions, extension, length)) return (dure_format)i;
  }
  return DURE_FORMAT_AUTO;
}

// Length of a path without the extension of a compression.
static size_t inner_length(const char *path) {
  size_t length, whole = strlen(path);
  const char *extension = extension_of(path, whole, &length);
  return length > 0 && dure_name_is_listed(compressions, extension, length) ? whole - length - 1 : whole;
}

dure_format dure_format_of_name(const char *path) { return format_of_name(path, inner_length(path)); }

bool dure_name_is_known(const char *path) {
  size_t length;
  const char *extension = extension_of(path, inner_length(path), &length);
  return dure_format_of_name(path) != DURE_FORMAT_AUTO ||
         (length > 0 && dure_name_is_listed(archives, extension, length));
}

// ---- by content ----

static bool begins_with(const char *bytes, size_t size, const char *magic, size_t length) {
  return size >= length && memcmp(bytes, magic, length) == 0;
}

bool dure_container_of_content(const char *bytes, size_t size) {
  static const struct {
    const char *magic;
    size_t length;
  } magics[] = {{"\x1f\x8b", 2},
                {"\x28\xb5\x2f\xfd", 4},
                {"\xfd"
                 "7zXZ\0",
                 6},
                {"BZh", 3},
                {"PK\x03\x04", 4},
                {"PK\x05\x06", 4},
                {"\x04\x22\x4d\x18", 4}};
  for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
    if (begins_with(bytes, size, magics[i].magic, magics[i].length)) return true;
  }
  return size >= 262 && memcmp(bytes + 257, "ustar", 5) == 0;
}

static bool contains(const char *bytes, size_t size, const char *word) {
  size_t length = strlen(word);
  for (size_t i = 0; i + length <= size; i++) {
    if (strncasecmp(bytes + i, word, length) == 0) return true;
  }
  return false;
}

static dure_format format_of_markup(const char *bytes, size_t size) {
  size_t near = size < DURE_SNIFF_SIZE ? size : DURE_SNIFF_SIZE;
  if (contains(bytes, near, "<!doctype html") || contains(bytes, near, "<html") || contains(bytes, near, "<body")) {
    return DURE_FORMAT_HTML;
  }
  if (near >= 5 && (memcmp(bytes, "<?xml", 5) == 0 || strncasecmp(bytes, "<!doc", 5) == 0)) return DURE_FORMAT_XML;
  if (contains(bytes, near, "xmlns=")) return DURE_FORMAT_XML;
  static const char *const fragments[] = {"</p>", "</div>", "</a>", "</h1>", "<br", "<meta ", "</li>", "</td>"};
  for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++) {
    if (contains(bytes, near, fragments[i])) return DURE_FORMAT_HTML;
  }
  return DURE_FORMAT_TEXT;
}

dure_format dure_format_of_content(const char *bytes, size_t size) {
  if (begins_with(bytes, size, "\xef\xbb\xbf", 3)) {
    bytes += 3;
    size -= 3;
  }
  while (size > 0 && strchr(" \t\r\n", *bytes) != NULL && *bytes != '\0') {
    bytes++;
    size--;
  }
  if (size == 0) return DURE_FORMAT_TEXT;
  if (bytes[0] == '{') return DURE_FORMAT_JSONL;
  if (begins_with(bytes, size, "WARC/", 5)) return DURE_FORMAT_WARC;
  return bytes[0] == '<' ? format_of_markup(bytes, size) : DURE_FORMAT_TEXT;
}
