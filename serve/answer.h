// What a generation looks like to its client: OpenAI's objects, whole or as events of a stream.
#ifndef DURE_SERVE_ANSWER_H_
#define DURE_SERVE_ANSWER_H_

#include "serve/job.h"

// Adds an event with what the choice has that was not told yet; nothing when there is nothing. The first one of a
// chat's choice names the role; the last one has the finish_reason.
void answer_event(choice *c, dure_bytes *out);
// Adds the end of a job's stream: the usage where it was asked for, and "[DONE]".
void answer_end(job *self, dure_bytes *out);
// The whole answer.
json_t *answer_whole(job *self);

#endif  // DURE_SERVE_ANSWER_H_
