// A request that the device works for: its choices (sequences of the engine), and what is ready to be sent.
//
// A job is held by its connection and, until it is done, by the server's list; the last to let go frees it. The
// device's thread takes choices from the queue, the delivery alone turns their tokens into text, the transport sends.
#ifndef DURE_SERVE_JOB_H_
#define DURE_SERVE_JOB_H_

#include "serve/generation_request.h"
#include "serve/reply.h"
#include "serve/state.h"

// A token with its log-probability and those of its alternatives, and where its text begins in the choice's (bytes).
typedef struct scored_piece {
  dure_scored_token token;
  size_t start;
  uint32_t alternative_count;  // in the choice's list, from index * request.alternatives
} scored_piece;

struct choice {
  job *owner;
  choice *next;  // of those that wait, or that the delivery looks after
  uint32_t index, prompt;
  uint64_t id;  // the engine's; 0: it waits
  bool is_finished;
  const char *finish_reason;  // a literal
  // Of the delivery:
  dure_completion *completion;
  dure_bytes text;         // that is certain
  size_t raw;              // bytes that the tokens so far stand for
  size_t told;             // of the text, in events
  uint32_t seen;           // tokens
  double log_probability;  // of all of them, where it is asked for
  scored_piece *pieces;
  dure_scored_token *alternatives;
  uint32_t piece_count, piece_capacity, pieces_told;
  bool has_prompt_pieces, is_begun, has_calls;
  uint64_t last_token;                 // when; 0: none yet
  size_t offset_bytes, offset_points;  // bytes of the text that were counted, and their characters
};

struct job {
  dure_server *server;
  job *next, **place;  // of the server's list
  job *next_embedding;
  int references;  // under the lock, as all that is not said otherwise
  char id[40];
  int64_t created;
  uint64_t arrived, deadline;  // dure_os_nanoseconds
  uint32_t turn;               // its client's slot
  int descriptor;              // of its connection; -1: none
  void *connection;            // of the transport; NULL: gone
  bool is_suspended, is_done, is_waiting_embedding;
  bool has_begun;   // something of its stream was sent
  bool is_dropped;  // its client does not take what is sent
  bool is_expired;  // its time is over
  atomic_bool is_cancelled;
  http_reply reply;  // complete when done; a stream's: bytes that are not sent yet
  size_t sent;       // of the stream's
  size_t echoed;     // bytes of its choices' first events, with the prompt: they may wait beside the rest

  generation_request request;  // read-only once it is submitted, as the rest
  choice *choices;             // [choice_count]
  uint32_t choice_count, unfinished;
  uint32_t prompt_tokens, reused_tokens, generated_tokens;

  prompt_set texts;  // of embeddings
  bool is_base64;
  float *vectors;  // [texts.count, width]; of the device's thread until done
  size_t embedded;

  uint64_t held_bytes;  // of its prompts, as text and tokens, once submitted
};

// An empty one with one reference. NULL when out of memory.
job *job_create(dure_server *server, const char *id_prefix, uint32_t turn);
void job_release(job *self);  // takes the lock

// With the lock held:
void job_hold(job *self);
void job_let_go(job *self);  // a reference less; the last one frees it
void job_finish(job *self);  // its reply is complete: off the list, and its connection woken
void job_fail(job *self, int status, const char *message);  // the reply, or the stream's last event; then finished
void job_cancel(job *self);  // ends its choices, waiting and running; unknown to its client
// Takes bytes of a stream and wakes its connection; too many that are not taken end the job.
void job_send(job *self, const dure_bytes *bytes);
void job_wake(job *self);

#endif  // DURE_SERVE_JOB_H_
