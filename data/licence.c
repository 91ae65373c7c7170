#include "data/licence.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "data/html_entities.h"

enum { LONGEST_TAG = 2048, LONGEST_LICENCE = 200, NAME_SIZE = 40 };

static const char host[] = "creativecommons.org/";

// Where Creative Commons' licences lie below the host, and what SPDX calls them.
static const struct {
  const char *path, *name;
  bool has_version;
} licences[] = {
    {"publicdomain/zero/1.0", "CC0-1.0", false},
    {"publicdomain/mark/1.0", "CC-PDM-1.0", false},
    {"licenses/by-nc-nd/", "CC-BY-NC-ND-", true},
    {"licenses/by-nd-nc/", "CC-BY-NC-ND-", true},
    {"licenses/by-nc-sa/", "CC-BY-NC-SA-", true},
    {"licenses/by-nc/", "CC-BY-NC-", true},
    {"licenses/by-nd/", "CC-BY-ND-", true},
    {"licenses/by-sa/", "CC-BY-SA-", true},
    {"licenses/by/", "CC-BY-", true},
};

static const char *find(const char *text, size_t size, const char *word) {
  const size_t length = strlen(word);
  for (size_t i = 0; i + length <= size; i++) {
    if (text[i] == word[0] && memcmp(text + i, word, length) == 0) return text + i;
  }
  return NULL;
}

static bool begins_with(const char *text, size_t size, const char *word) {
  return size >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

bool dure_licence_of_url(const char *url, size_t size, char out_name[40]) {
  const char *below = find(url, size, host);
  if (below == NULL) return false;
  below += sizeof(host) - 1;
  size_t left = size - (size_t)(below - url);
  for (size_t i = 0; i < sizeof(licences) / sizeof(licences[0]); i++) {
    if (!begins_with(below, left, licences[i].path)) continue;
    const char *version = below + strlen(licences[i].path);
    const char *end = url + size;
    bool is_version = end - version >= 3 && version[0] >= '1' && version[0] <= '9' && version[1] == '.' &&
                      version[2] >= '0' && version[2] <= '9';
    if (licences[i].has_version && !is_version) return false;
    snprintf(out_name, NAME_SIZE, "%s%.*s", licences[i].name, licences[i].has_version ? 3 : 0, version);
    return true;
  }
  return false;
}

// ---- tags ----

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

// The value of an attribute of a tag, between its < and its >; NULL when it has none.
static const char *attribute(const char *tag, size_t size, const char *name, size_t *out_size) {
  const size_t length = strlen(name);
  for (size_t i = 1; i + length + 1 < size; i++) {
    if (!is_space(tag[i - 1]) || strncasecmp(tag + i, name, length) != 0) continue;
    size_t at = i + length;
    while (at < size && is_space(tag[at])) at++;
    if (at == size || tag[at] != '=') continue;
    at++;
    while (at < size && is_space(tag[at])) at++;
    const char quote = at < size && (tag[at] == '"' || tag[at] == '\'') ? tag[at++] : '\0';
    size_t end = at;
    while (end < size && (quote != '\0' ? tag[end] != quote : !is_space(tag[end]))) end++;
    *out_size = end - at;
    return tag + at;
  }
  return NULL;
}

static bool has_word(const char *text, size_t size, const char *word) {
  const size_t length = strlen(word);
  for (size_t i = 0; i + length <= size; i++) {
    if (i > 0 && !is_space(text[i - 1])) continue;
    if (strncasecmp(text + i, word, length) == 0 && (i + length == size || is_space(text[i + length]))) return true;
  }
  return false;
}

static bool is_licence_name(const char *text, size_t size) {
  static const char *const names[] = {"license",           "licence",        "dcterms.license", "dc.license",
                                      "dc.rights.license", "dcterms.rights", "dc.rights",       "rights",
                                      "cc:license",        "og:license",     "rights-standard", "citation_license",
                                      "dcterms:license",   "dcterms:rights"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strlen(names[i]) == size && strncasecmp(text, names[i], size) == 0) return true;
  }
  return false;
}

// What a tag states: the value of its href or content.
static const char *stated_by(const char *tag, size_t size, size_t *out_size) {
  size_t length = 0;
  const char *value = NULL;
  if (begins_with(tag, size, "meta")) {
    value = attribute(tag, size, "name", &length);
    if (value == NULL) value = attribute(tag, size, "property", &length);
    if (value == NULL || !is_licence_name(value, length)) return NULL;
    return attribute(tag, size, "content", out_size);
  }
  if (begins_with(tag, size, "a") || begins_with(tag, size, "link") || begins_with(tag, size, "area")) {
    value = attribute(tag, size, "rel", &length);
    if (value == NULL || (!has_word(value, length, "license") && !has_word(value, length, "licence"))) return NULL;
    return attribute(tag, size, "href", out_size);
  }
  return begins_with(tag, size, "license") ? attribute(tag, size, "href", out_size) : NULL;
}

static void append_licence(dure_bytes *out, const char *value, size_t size) {
  char name[NAME_SIZE];
  if (dure_licence_of_url(value, size, name)) {
    dure_bytes_append_text(out, name);
    return;
  }
  const size_t start = out->size;
  for (size_t i = 0; i < size && out->size - start < LONGEST_LICENCE;) {
    char decoded[8];
    size_t decoded_size = 0;
    size_t taken = value[i] == '&' ? dure_html_reference(value + i, size - i, decoded, &decoded_size) : 0;
    if (taken > 0) {
      dure_bytes_append(out, decoded, decoded_size);
      i += taken;
      continue;
    }
    size_t length = 1;  // a whole character
    while (i + length < size && ((unsigned char)value[i + length] & 0xc0) == 0x80) length++;
    dure_bytes_append(out, is_space(value[i]) ? " " : value + i, length);
    i += length;
  }
}

// ---- pages ----

// The tag around a place, from behind its < to its >; NULL when there is none near.
static const char *tag_around(const char *markup, size_t size, size_t place, size_t *out_size) {
  size_t start = place;
  while (start > 0 && place - start < LONGEST_TAG && markup[start] != '<' && markup[start] != '>') start--;
  if (markup[start] != '<') return NULL;
  start++;
  const size_t most = size - start < LONGEST_TAG ? size - start : LONGEST_TAG;
  const char *end = memchr(markup + start, '>', most);
  if (end == NULL) return NULL;
  *out_size = (size_t)(end - markup) - start;
  return markup + start;
}

static const char *find_stated(const char *markup, size_t size, size_t *out_size) {
  static const char *const words[] = {"icen", "ights"};
  for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
    for (const char *at = markup; (at = strstr(at, words[w])) != NULL; at++) {
      size_t tag_size = 0;
      const char *tag = tag_around(markup, size, (size_t)(at - markup), &tag_size);
      const char *value = tag != NULL ? stated_by(tag, tag_size, out_size) : NULL;
      if (value != NULL && *out_size > 0) return value;
    }
  }
  return NULL;
}

bool dure_licence_find(const char *markup, size_t size, dure_bytes *out) {
  size_t length = 0;
  const char *value = find_stated(markup, size, &length);
  if (value != NULL) {
    append_licence(out, value, length);
    return true;
  }
  char first[NAME_SIZE] = "", name[NAME_SIZE];
  for (const char *at = markup; (at = strstr(at, host)) != NULL; at++) {
    size_t tag_size = 0;
    const char *tag = tag_around(markup, size, (size_t)(at - markup), &tag_size);
    const char *href = tag != NULL ? attribute(tag, tag_size, "href", &length) : NULL;
    if (href == NULL || !dure_licence_of_url(href, length, name)) continue;
    if (first[0] != '\0' && strcmp(first, name) != 0) return false;
    snprintf(first, sizeof(first), "%s", name);
  }
  if (first[0] == '\0') return false;
  dure_bytes_append_text(out, first);
  return true;
}
