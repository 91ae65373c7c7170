// Clients that have left and requests whose time is over.
#ifndef DURE_SERVE_WATCH_H_
#define DURE_SERVE_WATCH_H_

#include "serve/state.h"

// Cancels jobs whose client has closed its connection, also before anything is sent; ends those past their deadline:
// what runs is answered with what there is, what still waits with 503. Called a few times a second.
void watch_jobs(dure_server *server);

#endif  // DURE_SERVE_WATCH_H_
