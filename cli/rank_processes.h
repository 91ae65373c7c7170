// The processes that `dure launch` starts: one a rank, here or through a remote shell, or a launcher of others'
// (mpirun, srun). Their output comes line by line; what is started is ended, also when this program is killed.
//
// Processes on this machine die with this one (Linux: PR_SET_PDEATHSIG). A remote one is a shell that becomes the rank,
// with a watcher beside it that reads signals' names from its input and ends the rank when that closes: so it follows
// the remote shell's own end, and works through whatever carries bytes (ssh, ip netns exec).
#ifndef DURE_CLI_RANK_PROCESSES_H_
#define DURE_CLI_RANK_PROCESSES_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { RANK_LINE_BYTES = 4096 };

typedef struct rank_output {
  int descriptor;  // -1: closed
  size_t used;
  char line[RANK_LINE_BYTES];
} rank_output;

typedef struct rank_process {
  int64_t pid;             // 0: not started, or over
  bool has_ended;          // and `code` says how
  int code;                // exit status; 128 + signal where one ended it
  int input;               // to a remote rank's watcher; -1: none
  rank_output outputs[2];  // standard output, standard error
} rank_process;

typedef struct rank_command {
  const char *const *arguments;    // [..., NULL], the program's path first
  const char *const *environment;  // [NAME, VALUE, ..., NULL], beside this program's own
  const char *secret_name;         // a variable whose value no command line shows: a remote rank reads it from its
  const char *secret;              // input; NULL: none
  const char *remote_shell;        // "ssh -o BatchMode=yes", "ip netns exec"; NULL: on this machine
  const char *host;                // its first argument
} rank_command;

DURE_MUST_CHECK dure_status rank_process_start(const rank_command *command, rank_process *out_process);
// SIGTERM or SIGKILL by their names without SIG: "TERM", "KILL". A process that is over is left alone.
void rank_process_signal(rank_process *process, const char *name);
// Whole lines that have come, without their ends, are given to `sink` (stream 0: output, 1: error); waits at most
// `milliseconds` for any. Processes that are over are noticed.
typedef void (*rank_line_sink)(void *context, size_t rank, int stream, const char *line);
void rank_processes_poll(rank_process *processes, size_t count, int milliseconds, rank_line_sink sink, void *context);
void rank_process_close(rank_process *process);
// Whether a remote host runs a command within `seconds`.
bool rank_host_answers(const char *remote_shell, const char *host, double seconds);

#endif  // DURE_CLI_RANK_PROCESSES_H_
