// Lines of the log (runtime/log.h, whose names meet the engine's).
#ifndef DURE_SERVE_LOG_LINES_H_
#define DURE_SERVE_LOG_LINES_H_

void log_request(const char *path, int status);  // DURE_LOG=debug
void log_device_failure(const char *message);

#endif  // DURE_SERVE_LOG_LINES_H_
