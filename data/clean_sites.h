// Lines that repeat over the pages of a site: menus, banners and notices that no markup gives away.
//
// A site is a host (of pages with an address) or a directory (of files). A table of fixed size counts on how many pages
// each line occurs; when it is full, further lines are not counted until it is cleared.
#ifndef DURE_DATA_CLEAN_SITES_H_
#define DURE_DATA_CLEAN_SITES_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_site_table dure_site_table;

DURE_MUST_CHECK dure_status dure_site_table_create(dure_site_table **out_table);  // 16 MiB
void dure_site_table_destroy(dure_site_table *table);                             // NULL is fine
void dure_site_table_clear(dure_site_table *table);

// Which site a page belongs to, by its address (may be NULL) or its path.
uint64_t dure_site_of(const char *url, const char *path);

// Counts a page and its lines (by hashes, in any order, repeated or not).
void dure_site_table_add(dure_site_table *table, uint64_t site, const uint64_t *lines, size_t count);

// On how many pages of the site the line occurs; `out_pages` is how many pages the site has.
uint32_t dure_site_table_count(const dure_site_table *table, uint64_t site, uint64_t line, uint32_t *out_pages);

#endif  // DURE_DATA_CLEAN_SITES_H_
