// Who may ask: API keys, and web pages of other servers.
#ifndef DURE_SERVE_ACCESS_H_
#define DURE_SERVE_ACCESS_H_

#include "serve/server.h"

// Whether `authorization` ("Bearer KEY", NULL: none came) has one of the keys; always without any. *out_key is then its
// number + 1, else 0. The time that it takes does not tell how much of a key was right.
bool access_has_key(const dure_server_options *options, const char *authorization, uint32_t *out_key);
// Whether a page of `origin` (NULL: no page) may ask a server that it reaches as `host`: its own pages, and those of
// the allowed origin. A server on the loopback takes only pages of loopback names for its own, so that no page on the
// internet reaches it by a name that it points there.
bool access_has_origin(const dure_server_options *options, const char *origin, const char *host);

// Whether this server is meant by that name: one that only this machine reaches, and that asks for no key, must be
// asked as such, else a web page could reach it under a name of its own that leads here (DNS rebinding).
bool access_has_host(const dure_server_options *options, const char *host);

#endif  // DURE_SERVE_ACCESS_H_
