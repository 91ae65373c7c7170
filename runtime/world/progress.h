// Who is at which collective: what each rank tells with its heartbeats, and what rank 0 concludes when somebody waits
// for a rank that lives but does not come. Knows no threads and no sockets; control.c holds its mutex.
#ifndef DURE_RUNTIME_WORLD_PROGRESS_H_
#define DURE_RUNTIME_WORLD_PROGRESS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { progress_places = 16, progress_name_bytes = 56 };

// A channel's collectives as one rank sees them; goes over the wire as it is.
typedef struct progress_entry {
  uint32_t channel;
  uint32_t group;         // smallest rank of its members: groups of one split share the channel's number, and no member
  uint64_t number;        // of the collective that was entered last, counted from 1; messages between two do not count
  uint32_t is_inside;     // the rank is still at it
  uint32_t is_on_device;  // the host enters and goes on: when the device leaves is not known
  uint32_t peer;          // of a message: the rank at the other end; else UINT32_MAX
  float seconds;          // since it was entered, or bytes moved in it last; or since it was left
  char name[progress_name_bytes];  // "all-reduce of 4096 f32": the same on every rank, but of messages
} progress_entry;

typedef struct progress_report {
  uint32_t count;
  progress_entry entries[progress_places];
} progress_report;

// A rank's own record.
typedef struct progress_record {
  progress_report report;
  uint64_t since[progress_places];  // nanoseconds: what `seconds` is counted from
} progress_record;

// The place of a channel; -1 where there is no more room: that channel is not followed.
int progress_open(progress_record *record, uint32_t channel, uint32_t group);
void progress_close(progress_record *record, int place);
void progress_enter(progress_record *record, int place, const char *name, uint32_t peer, bool is_on_device);
void progress_move(progress_record *record, int place);  // bytes have come or gone
void progress_leave(progress_record *record, int place);
// With `seconds` as of now.
progress_report progress_now(const progress_record *record);
// From `size` bytes that came over the wire; false where they are none.
bool progress_parse(const void *bytes, size_t size, progress_report *out_report);

// What is wrong, by the reports of all ranks: two are at different collectives of the same number (at once), or one has
// waited longer than `limit` seconds. `names` [size] are for the text. False: nothing.
bool progress_judge(const progress_report *reports, uint32_t size, double limit, const char *const *names,
                    char *out_text, size_t text_size);

#endif  // DURE_RUNTIME_WORLD_PROGRESS_H_
