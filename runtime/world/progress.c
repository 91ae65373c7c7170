#include "runtime/world/progress.h"

#include <stdio.h>
#include <string.h>

#include "runtime/os.h"

enum { no_peer = UINT32_MAX };

// ---- a rank's own ------------------------------------------------------------------------------------------------

int progress_open(progress_record *record, uint32_t channel, uint32_t group) {
  progress_report *r = &record->report;
  if (r->count == progress_places) return -1;
  record->since[r->count] = dure_os_nanoseconds();
  r->entries[r->count] = (progress_entry){.channel = channel, .group = group, .peer = no_peer};
  return (int)r->count++;
}

// Places stay where they are; the last ones are given back.
void progress_close(progress_record *record, int place) {
  progress_report *r = &record->report;
  if (place < 0) return;
  r->entries[place] = (progress_entry){.channel = UINT32_MAX, .peer = no_peer};
  while (r->count > 0 && r->entries[r->count - 1].channel == UINT32_MAX) r->count--;
}

void progress_enter(progress_record *record, int place, const char *name, uint32_t peer, bool is_on_device) {
  if (place < 0) return;
  progress_entry *e = &record->report.entries[place];
  if (peer == no_peer) e->number++;
  e->is_inside = 1;
  e->is_on_device = is_on_device;
  e->peer = peer;
  snprintf(e->name, sizeof(e->name), "%s", name);
  record->since[place] = dure_os_nanoseconds();
}

void progress_move(progress_record *record, int place) {
  if (place >= 0) record->since[place] = dure_os_nanoseconds();
}

void progress_leave(progress_record *record, int place) {
  if (place < 0) return;
  record->report.entries[place].is_inside = 0;
  record->since[place] = dure_os_nanoseconds();
}

progress_report progress_now(const progress_record *record) {
  progress_report report = record->report;
  const uint64_t now = dure_os_nanoseconds();
  for (uint32_t i = 0; i < report.count; i++)
    report.entries[i].seconds = (float)((double)(now - record->since[i]) / 1e9);
  return report;
}

bool progress_parse(const void *bytes, size_t size, progress_report *out_report) {
  const size_t count = size / sizeof(progress_entry);
  out_report->count = 0;
  if (size % sizeof(progress_entry) != 0 || count > progress_places) return false;
  memcpy(out_report->entries, bytes, size);
  for (size_t i = 0; i < count; i++) {
    progress_entry *e = &out_report->entries[i];
    e->name[progress_name_bytes - 1] = '\0';
    if (!(e->seconds >= 0)) e->seconds = 0;  // not a number: it would be the longest wait for ever
  }
  out_report->count = (uint32_t)count;
  return true;
}

// ---- what rank 0 concludes ---------------------------------------------------------------------------------------

static const progress_entry *find_entry(const progress_report *report, const progress_entry *like) {
  for (uint32_t i = 0; i < report->count; i++) {
    const progress_entry *e = &report->entries[i];
    if (e->channel == like->channel && e->group == like->group && e->channel != UINT32_MAX) return e;
  }
  return NULL;
}

static bool is_collective(const progress_entry *e) { return e->is_inside != 0 && e->peer == no_peer; }

// Two ranks at different collectives, where all must be at the same: neither would ever end, or with wrong values.
static bool find_disagreement(const progress_report *reports, uint32_t size, const char *const *names, char *out_text,
                              size_t text_size) {
  for (uint32_t rank = 1; rank < size; rank++) {
    for (uint32_t i = 0; i < reports[rank].count; i++) {
      const progress_entry *e = &reports[rank].entries[i];
      if (!is_collective(e) || e->group >= rank) continue;
      const progress_entry *first = find_entry(&reports[e->group], e);
      if (first == NULL || !is_collective(first) || first->number != e->number || strcmp(first->name, e->name) == 0)
        continue;
      snprintf(out_text, text_size, "%s is lost: it has come to %s, where %s is at %s (collective %llu of channel %u)",
               names[rank], e->name, names[e->group], first->name, (unsigned long long)e->number, e->channel);
      return true;
    }
  }
  return false;
}

// A message waits for its peer until that is at the other end of it: at another message it keeps this one waiting.
static bool is_behind(const progress_report *reports, uint32_t rank, uint32_t waiter, const progress_entry *waits) {
  const progress_entry *e = find_entry(&reports[rank], waits);
  if (e == NULL) return false;
  if (waits->peer != no_peer) return rank == waits->peer && !(e->is_inside != 0 && e->peer == waiter);
  return e->number < waits->number;
}

// The rank that is furthest behind a waiting one; `size`: none is.
static uint32_t find_last(const progress_report *reports, uint32_t size, uint32_t waiter, const progress_entry *waits,
                          uint32_t *out_count) {
  uint32_t last = size;
  uint64_t least = UINT64_MAX;
  *out_count = 0;
  for (uint32_t rank = 0; rank < size; rank++) {
    if (!is_behind(reports, rank, waiter, waits)) continue;
    const progress_entry *e = find_entry(&reports[rank], waits);
    if (e->number < least) last = rank, least = e->number;
    ++*out_count;
  }
  return last;
}

// What a rank that others wait for does instead.
static void describe_elsewhere(const progress_report *report, const progress_entry *own, char *out_text, size_t size) {
  size_t used = 0;
  out_text[0] = '\0';
  if (own->number > 0)
    used = (size_t)snprintf(out_text, size, "; its last there was number %llu, %s", (unsigned long long)own->number,
                            own->peer == no_peer ? own->name : "and a message");
  for (uint32_t i = 0; i < report->count && used < size; i++) {
    const progress_entry *e = &report->entries[i];
    if (e == own || e->is_inside == 0 || e->is_on_device != 0) continue;
    used += (size_t)snprintf(out_text + used, size - used, "; it waits itself, for %.3g s, in %s (%llu of channel %u)",
                             (double)e->seconds, e->name, (unsigned long long)e->number, e->channel);
  }
}

// From a rank that waits to one that others wait for while it waits for nobody. Where they wait in a circle: any.
static void follow(const progress_report *reports, uint32_t size, uint32_t *waiter, const progress_entry **waits) {
  for (int hops = 0; hops < 8; hops++) {
    uint32_t count = 0;
    const uint32_t last = find_last(reports, size, *waiter, *waits, &count);
    const progress_entry *next = NULL;
    for (uint32_t i = 0; last < size && i < reports[last].count && next == NULL; i++) {
      const progress_entry *e = &reports[last].entries[i];
      if (e->is_inside != 0 && e->is_on_device == 0 && find_last(reports, size, last, e, &count) < size) next = e;
    }
    if (next == NULL) return;
    *waiter = last;
    *waits = next;
  }
}

static bool accuse(const progress_report *reports, uint32_t size, uint32_t waiter, const progress_entry *waits,
                   const char *const *names, char *out_text, size_t text_size) {
  uint32_t count = 0;
  follow(reports, size, &waiter, &waits);
  const uint32_t last = find_last(reports, size, waiter, waits, &count);
  if (last == size && waits->is_on_device != 0) return false;
  if (last == size) {
    snprintf(out_text, text_size,
             "%s is lost: it has waited %.3g s in %s (collective %llu of channel %u), to which all have come; the "
             "network between the ranks is stuck",
             names[waiter], (double)waits->seconds, waits->name, (unsigned long long)waits->number, waits->channel);
    return true;
  }
  char elsewhere[400], others[60] = "";
  describe_elsewhere(&reports[last], find_entry(&reports[last], waits), elsewhere, sizeof(elsewhere));
  if (count > 1) snprintf(others, sizeof(others), ", nor have %u other ranks", count - 1);
  snprintf(out_text, text_size,
           "%s is lost: it lives, but has not come to %s (collective %llu of channel %u)%s, where %s has waited for "
           "%.3g s%s",
           names[last], waits->name, (unsigned long long)waits->number, waits->channel, others, names[waiter],
           (double)waits->seconds, elsewhere);
  return true;
}

bool progress_judge(const progress_report *reports, uint32_t size, double limit, const char *const *names,
                    char *out_text, size_t text_size) {
  if (find_disagreement(reports, size, names, out_text, text_size)) return true;
  // The longest wait first: others may wait for the waiting.
  for (double below = 1e30;;) {
    const progress_entry *longest = NULL;
    uint32_t waiter = 0;
    for (uint32_t rank = 0; rank < size; rank++) {
      for (uint32_t i = 0; i < reports[rank].count; i++) {
        const progress_entry *e = &reports[rank].entries[i];
        const double seconds = (double)e->seconds;
        if (e->is_inside == 0 || seconds < limit || seconds >= below) continue;
        if (longest != NULL && seconds <= (double)longest->seconds) continue;
        longest = e;
        waiter = rank;
      }
    }
    if (longest == NULL) return false;
    if (accuse(reports, size, waiter, longest, names, out_text, text_size)) return true;
    below = (double)longest->seconds;
  }
}
