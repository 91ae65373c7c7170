// From tokens to text: the thread that looks at what the engine has made, finds ends and stop strings, and hands events
// and answers to the connections. It also watches clients and clocks: who has left, whose time is over.
#ifndef DURE_SERVE_DELIVERY_H_
#define DURE_SERVE_DELIVERY_H_

#include "serve/state.h"

DURE_MUST_CHECK dure_status delivery_start(dure_server *server);
// Once no more jobs come: ends all that are there, and waits for the thread.
void delivery_stop(dure_server *server);

#endif  // DURE_SERVE_DELIVERY_H_
