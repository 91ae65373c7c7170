// An HTTP server for one model: OpenAI's completions, chat and embeddings, and what a service needs around them.
//
//   dure_server *server = NULL;
//   DURE_TRY(dure_server_start(&options, &served, &server));   // listens; requests wait
//   DURE_TRY(dure_server_run(server, dure_os_interrupted));    // this thread drives the device until told to stop
//   dure_server_stop(server);
//
// Threads: a few of the transport take requests and send what is ready; the one in dure_server_run drives the engine
// and the device, and nothing else; one turns new tokens into text and events, and watches clients and clocks. None
// waits for a client.
#ifndef DURE_SERVE_SERVER_H_
#define DURE_SERVE_SERVER_H_

#include "model/chat.h"
#include "model/embedding.h"
#include "model/engine.h"

typedef struct dure_server dure_server;

typedef struct dure_server_options {
  const char *host;  // a numeric address, IPv4 or IPv6; NULL: 127.0.0.1
  uint16_t port;     // 0: any that is free
  const char *name;  // of the model in requests and answers; copied, as all texts here
  const char *const *keys;
  size_t key_count;            // 0: nobody needs one
  const char *allowed_origin;  // of web pages of other servers that may ask; "*": any; NULL: none
  uint64_t body_bytes;         // of a request at most; 0: 8 MiB
  uint32_t most_tokens;        // that a request may generate; 0: what the context holds
  uint32_t queue;              // sequences that wait; 0: 1024
  uint32_t connections;        // 0: 16384, or what the system lets this process have
  double request_seconds;      // for waiting and generating; 0: 600
  double read_seconds;         // for a client to send its request; 0: 30
  double drain_seconds;        // for what runs when told to stop; 0: 30
  uint64_t grammar_bytes;      // of memory for all grammars together; 0: 256 MiB
  dure_overflow overflow;      // what becomes of requests that are longer than the context
  uint64_t unsent_bytes;       // of a stream that its client does not take; 0: 1 MiB
  dure_pooling pooling;        // of embeddings
} dure_server_options;

typedef struct dure_served_model {  // all borrowed
  dure_model *model;
  const dure_tokenizer *tokenizer;
  const dure_chat *chat;
  dure_engine *engine;
} dure_served_model;

// DURE_IO when the address cannot be bound.
DURE_MUST_CHECK dure_status dure_server_start(const dure_server_options *options, const dure_served_model *served,
                                              dure_server **out_server);
uint16_t dure_server_port(const dure_server *server);
// Serves until `should_stop` says so, asked several times a second; then takes no new requests (503) and returns when
// those that run have ended, or drain_seconds later. A lost device does not end it: requests then get 503.
DURE_MUST_CHECK dure_status dure_server_run(dure_server *server, bool (*should_stop)(void));
void dure_server_stop(dure_server *server);  // ends what still runs, closes all connections, frees; NULL is fine

#endif  // DURE_SERVE_SERVER_H_
