#include "data/clean_sites.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { SLOT_COUNT = 1 << 20, FULL = SLOT_COUNT / 4 * 3 };

typedef struct slot {
  uint64_t key;  // 0: free
  uint32_t count, last_page;
} slot;

struct dure_site_table {
  slot slots[SLOT_COUNT];
  size_t used;
  uint32_t pages;  // of all sites, numbered from 1
};

dure_status dure_site_table_create(dure_site_table **out_table) {
  *out_table = calloc(1, sizeof(**out_table));
  return *out_table != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the table of lines");
}

void dure_site_table_destroy(dure_site_table *table) { free(table); }

void dure_site_table_clear(dure_site_table *table) {
  if (table->used > 0) memset(table, 0, sizeof(*table));
}

uint64_t dure_site_of(const char *url, const char *path) {
  const char *host = url != NULL ? strstr(url, "://") : NULL;
  if (host != NULL) return XXH3_64bits(host + 3, strcspn(host + 3, "/?#"));
  const char *slash = strrchr(path, '/');
  return XXH3_64bits(path, slash != NULL ? (size_t)(slash - path) : 0);
}

static uint64_t key_of(uint64_t site, uint64_t line) {
  uint64_t key = (site ^ (line * UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xff51afd7ed558ccd);
  key ^= key >> 29;
  return key != 0 ? key : 1;
}

static size_t find(const dure_site_table *table, uint64_t key) {
  size_t i = (size_t)key & (SLOT_COUNT - 1);
  while (table->slots[i].key != key && table->slots[i].key != 0) i = (i + 1) & (SLOT_COUNT - 1);
  return i;
}

static void count(dure_site_table *table, uint64_t key) {
  slot *found = &table->slots[find(table, key)];
  if (found->key == 0) {
    if (table->used >= FULL) return;
    table->used++;
    found->key = key;
  }
  if (found->last_page == table->pages) return;
  found->last_page = table->pages;
  found->count++;
}

void dure_site_table_add(dure_site_table *table, uint64_t site, const uint64_t *lines, size_t line_count) {
  table->pages++;
  count(table, key_of(site, 0));
  for (size_t i = 0; i < line_count; i++) count(table, key_of(site, lines[i]));
}

uint32_t dure_site_table_count(const dure_site_table *table, uint64_t site, uint64_t line, uint32_t *out_pages) {
  *out_pages = table->slots[find(table, key_of(site, 0))].count;
  return table->slots[find(table, key_of(site, line))].count;
}
