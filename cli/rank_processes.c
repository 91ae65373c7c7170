// The POSIX side of rank_processes.h.
#define _GNU_SOURCE
#include "cli/rank_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/os.h"

enum { shell_words = 16, ranks_polled = 4096 };

// ---- what a remote shell is told ---------------------------------------------------------------------------------

typedef struct text {
  char *bytes;
  size_t used, capacity;
  bool has_failed;
} text;

static void append(text *t, const char *more) {
  const size_t length = strlen(more);
  if (t->used + length + 1 > t->capacity) {
    const size_t capacity = (t->used + length + 1) * 2;
    char *grown = realloc(t->bytes, capacity);
    if (grown == NULL) {
      t->has_failed = true;
      return;
    }
    t->bytes = grown;
    t->capacity = capacity;
  }
  memcpy(t->bytes + t->used, more, length + 1);
  t->used += length;
}

// In single quotes, as one word of a shell.
static void append_quoted(text *t, const char *word) {
  append(t, "'");
  for (; *word != '\0' && !t->has_failed; word++) {
    const char one[2] = {*word, '\0'};
    append(t, *word == '\'' ? "'\\''" : one);
  }
  append(t, "'");
}

// The watcher reads the names of signals, and ends the rank with its input; never another process, should the number
// have been given to one: it looks whether the rank is still its parent.
static const char watcher[] =
    "exec 3<&0; "
    "(mine() { read -r a b c parent rest </proc/self/stat; [ \"$parent\" = $$ ]; }; "
    "while read -r name <&3; do mine && kill -s \"$name\" $$; done; mine && kill -s KILL $$) >/dev/null 2>&1 & "
    "exec 0</dev/null 3<&-; ";

static char *write_script(const rank_command *command) {
  text t = {0};
  char directory[4096];
  if (command->secret_name != NULL) {  // the first line of the input, before the watcher has it
    append(&t, "read -r ");
    append(&t, command->secret_name);
    append(&t, " && export ");
    append(&t, command->secret_name);
    append(&t, "; ");
  }
  append(&t, watcher);
  if (getcwd(directory, sizeof(directory)) != NULL) {
    append(&t, "cd ");
    append_quoted(&t, directory);
    append(&t, " && ");
  }
  append(&t, "exec env");
  for (const char *const *e = command->environment; e != NULL && *e != NULL; e += 2) {
    char name[256];
    snprintf(name, sizeof(name), " %s=", e[0]);
    append(&t, name);
    append_quoted(&t, e[1]);
  }
  for (const char *const *a = command->arguments; *a != NULL; a++) {
    append(&t, " ");
    append_quoted(&t, *a);
  }
  if (!t.has_failed) return t.bytes;
  free(t.bytes);
  return NULL;
}

// A shell at the other end (ssh) reads one text; others pass words on as they are.
static bool is_read_by_a_shell(const char *remote_shell) {
  const size_t length = strcspn(remote_shell, " ");
  return (length >= 3 && memcmp(remote_shell + length - 3, "ssh", 3) == 0) ||
         (length >= 3 && memcmp(remote_shell + length - 3, "rsh", 3) == 0);
}

typedef struct remote_words {
  char *split;   // the remote shell's own words
  char *script;  // as it is passed
  const char *words[shell_words + 8];
} remote_words;

static dure_status make_words(const char *remote_shell, const char *host, char *script, remote_words *out) {
  size_t count = 0;
  *out = (remote_words){.split = strdup(remote_shell), .script = script};
  if (out->split == NULL || script == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to start a rank");
  char *rest = NULL;
  for (char *word = strtok_r(out->split, " ", &rest); word != NULL && count < shell_words;
       word = strtok_r(NULL, " ", &rest))
    out->words[count++] = word;
  out->words[count++] = host;
  if (is_read_by_a_shell(remote_shell)) {
    text t = {0};
    append(&t, "sh -c ");
    append_quoted(&t, script);
    if (t.has_failed) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to start a rank");
    free(out->script);
    out->script = t.bytes;
  } else {
    out->words[count++] = "sh";
    out->words[count++] = "-c";
  }
  out->words[count++] = out->script;
  out->words[count] = NULL;
  return NULL;
}

static void release_words(remote_words *words) {
  free(words->split);
  free(words->script);
}

// ---- starting ----------------------------------------------------------------------------------------------------

static void become(const rank_command *command, const char *const *words, int parent, const int pipes[3][2]) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it has died before it could be watched
  (void)setpgid(0, 0);                  // a terminal's Ctrl-C is the launcher's to pass on
  const int nothing = open("/dev/null", O_RDONLY);
  (void)dup2(pipes[0][0] >= 0 ? pipes[0][0] : nothing, 0);
  (void)dup2(pipes[1][1], 1);
  (void)dup2(pipes[2][1], 2);
  for (const char *const *e = command->environment; e != NULL && *e != NULL; e += 2) (void)setenv(e[0], e[1], 1);
  if (command->secret_name != NULL && command->remote_shell == NULL)
    (void)setenv(command->secret_name, command->secret, 1);
  execvp(words[0], (char *const *)(uintptr_t)words);
  fprintf(stderr, "cannot start '%s': %s\n", words[0], strerror(errno));
  _exit(127);
}

static void close_pipes(int pipes[3][2]) {
  for (int i = 0; i < 3; i++) {
    for (int side = 0; side < 2; side++) {
      if (pipes[i][side] >= 0) close(pipes[i][side]);
    }
  }
}

static dure_status start(const rank_command *command, const char *const *words, rank_process *out) {
  int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  for (int i = command->remote_shell != NULL ? 0 : 1; i < 3; i++) {
    if (pipe2(pipes[i], O_CLOEXEC) == 0) continue;
    dure_status status = dure_fail_errno("cannot make a pipe to a rank");
    close_pipes(pipes);
    return status;
  }
  const int parent = (int)getpid();
  fflush(NULL);
  const pid_t pid = fork();
  if (pid < 0) {
    dure_status status = dure_fail_errno("cannot start a process");
    close_pipes(pipes);
    return status;
  }
  if (pid == 0) become(command, words, parent, (const int(*)[2])pipes);
  out->pid = pid;
  out->input = pipes[0][1];
  for (int i = 0; i < 2; i++) {
    out->outputs[i].descriptor = pipes[i + 1][0];
    (void)fcntl(pipes[i + 1][0], F_SETFL, O_NONBLOCK);
    pipes[i + 1][0] = -1;
  }
  pipes[0][1] = -1;
  close_pipes(pipes);
  return NULL;
}

// What waits in the pipe until the rank's shell reads it. Whether the shell is still there shows when it is watched.
static void hand_over_secret(const rank_command *command, const rank_process *process) {
  char line[128];
  if (command->secret_name == NULL) return;
  const int length = snprintf(line, sizeof(line), "%.120s\n", command->secret);
  (void)!write(process->input, line, (size_t)length);
}

dure_status rank_process_start(const rank_command *command, rank_process *out_process) {
  memset(out_process, 0, sizeof(*out_process));
  out_process->input = out_process->outputs[0].descriptor = out_process->outputs[1].descriptor = -1;
  if (command->remote_shell == NULL) return start(command, command->arguments, out_process);
  (void)signal(SIGPIPE, SIG_IGN);  // a remote rank may be over when it is told something
  remote_words words;
  dure_status status = make_words(command->remote_shell, command->host, write_script(command), &words);
  if (status == NULL) status = start(command, words.words, out_process);
  release_words(&words);
  if (status == NULL) hand_over_secret(command, out_process);
  return status;
}

// ---- watching and ending -----------------------------------------------------------------------------------------

void rank_process_signal(rank_process *process, const char *name) {
  if (process->pid == 0) return;
  if (process->input >= 0) {
    char line[16];
    const int length = snprintf(line, sizeof(line), "%s\n", name);
    (void)!write(process->input, line, (size_t)length);
    if (strcmp(name, "KILL") != 0) return;
    close(process->input);
    process->input = -1;
    // The remote shell itself has its own time to pass this on; it is ended at the second asking.
    return;
  }
  // Its number is its own until it has been waited for.
  (void)kill((pid_t)process->pid, strcmp(name, "KILL") == 0 ? SIGKILL : SIGTERM);
}

static void give_line(rank_output *output, rank_line_sink sink, void *context, size_t rank, int stream, size_t length) {
  output->line[length] = '\0';
  sink(context, rank, stream, output->line);
}

static void read_output(rank_output *output, rank_line_sink sink, void *context, size_t rank, int stream) {
  for (;;) {
    const ssize_t got = read(output->descriptor, output->line + output->used, sizeof(output->line) - 1 - output->used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      if (output->used > 0) give_line(output, sink, context, rank, stream, output->used);
      close(output->descriptor);
      output->descriptor = -1;
      return;
    }
    output->used += (size_t)got;
    char *end = NULL;
    while ((end = memchr(output->line, '\n', output->used)) != NULL) {
      const size_t length = (size_t)(end - output->line);
      give_line(output, sink, context, rank, stream, length);
      memmove(output->line, end + 1, output->used - length - 1);
      output->used -= length + 1;
    }
    if (output->used == sizeof(output->line) - 1) {  // a line without an end
      give_line(output, sink, context, rank, stream, output->used);
      output->used = 0;
    }
  }
}

static void notice_end(rank_process *process, rank_line_sink sink, void *context, size_t rank) {
  int status = 0;
  if (process->pid == 0 || waitpid((pid_t)process->pid, &status, WNOHANG) != (pid_t)process->pid) return;
  for (int stream = 0; stream < 2; stream++) {
    if (process->outputs[stream].descriptor >= 0) read_output(&process->outputs[stream], sink, context, rank, stream);
  }
  process->pid = 0;
  process->has_ended = true;
  process->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void rank_processes_poll(rank_process *processes, size_t count, int milliseconds, rank_line_sink sink, void *context) {
  static struct pollfd polled[2 * ranks_polled];
  if (count > ranks_polled) count = ranks_polled;
  for (size_t i = 0; i < 2 * count; i++)
    polled[i] = (struct pollfd){.fd = processes[i / 2].outputs[i % 2].descriptor, .events = POLLIN};
  (void)poll(polled, 2 * count, milliseconds);
  for (size_t i = 0; i < 2 * count; i++) {
    rank_output *output = &processes[i / 2].outputs[i % 2];
    if (output->descriptor >= 0 && polled[i].revents != 0) read_output(output, sink, context, i / 2, (int)(i % 2));
  }
  for (size_t i = 0; i < count; i++) notice_end(&processes[i], sink, context, i);
}

void rank_process_close(rank_process *process) {
  if (process->pid != 0) {
    (void)kill((pid_t)process->pid, SIGKILL);
    (void)waitpid((pid_t)process->pid, NULL, 0);
    process->pid = 0;
  }
  int *const descriptors[] = {&process->input, &process->outputs[0].descriptor, &process->outputs[1].descriptor};
  for (size_t i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++) {
    if (*descriptors[i] >= 0) close(*descriptors[i]);
    *descriptors[i] = -1;
  }
}

static void drop_line(void *context, size_t rank, int stream, const char *line) {
  (void)context, (void)rank, (void)stream, (void)line;
}

bool rank_host_answers(const char *remote_shell, const char *host, double seconds) {
  static const char *const arguments[] = {"true", NULL};
  const rank_command command = {.arguments = arguments, .remote_shell = remote_shell, .host = host};
  rank_process process;
  dure_status status = rank_process_start(&command, &process);
  const bool has_started = status == NULL;
  dure_status_free(status);
  const uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(seconds * 1e9);
  while (has_started && !process.has_ended && dure_os_nanoseconds() < deadline)
    rank_processes_poll(&process, 1, 20, drop_line, NULL);
  const bool answers = has_started && process.has_ended && process.code == 0;
  rank_process_close(&process);
  return answers;
}
