// What the two halves of control connections share: meeting (rendezvous.c) and watching (control.c).
#ifndef DURE_RUNTIME_WORLD_CONTROL_H_
#define DURE_RUNTIME_WORLD_CONTROL_H_

#include "runtime/world/internal.h"

enum {
  control_mark = 0x44757265,  // begins every message: "Dure"
  message_limit = 2048,       // bytes after a message's head, once the ranks have met
  meeting_limit = 64 << 20,   // before that: the table of all ranks
  beats_in_silence = 5,
};
static const double control_default_silence = 10;  // seconds

typedef enum message_kind {
  MESSAGE_JOIN,     // to rank 0: introduction, then the fingerprint's text
  MESSAGE_WELCOME,  // from rank 0: a meeting, then the peers
  MESSAGE_REFUSED,  // from rank 0: the reason; `value` is its dure_code
  MESSAGE_BEAT,     // both ways
  MESSAGE_LEAVE,    // to rank 0: this rank is done
  MESSAGE_LEFT,     // from rank 0: `rank` is done
  MESSAGE_END,      // from rank 0: all are done
  MESSAGE_GIVE_UP,  // to rank 0: the reason
  MESSAGE_LOST,     // from rank 0: the verdict
  MESSAGE_DATA,     // a data connection: `rank` calls, for the channel `value`
} message_kind;

typedef struct message_head {
  uint32_t mark, kind, rank, size;  // size: bytes that follow
  uint64_t value;                   // MESSAGE_DATA: of the run (meeting.run) xor the channel
} message_head;

typedef struct introduction {
  uint32_t size;
  uint16_t port;
  char build[62];
  uint64_t process;
  char node[128], machine[160];
  char secret[64];  // DURE_WORLD_SECRET: processes of another run are turned away
} introduction;

typedef struct meeting {
  uint64_t run;  // drawn by rank 0
  double silence_seconds;
} meeting;

typedef struct control_link {
  int socket;  // -1: none
  bool has_left;
  uint64_t heard;  // when; nanoseconds
  size_t used;
  uint8_t bytes[sizeof(message_head) + message_limit];
} control_link;

// Fills peers and links (rank 0: one to each other rank; others: one, at 0). Blocks until all have come.
typedef struct rendezvous {
  const dure_control_options *options;
  int listener;
  uint16_t port;
  dure_peer *peers;     // [size], to be filled
  control_link *links;  // [size]
  meeting meeting;
} rendezvous;
DURE_MUST_CHECK dure_status control_meet(rendezvous *r);

#endif  // DURE_RUNTIME_WORLD_CONTROL_H_
