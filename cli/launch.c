// dure launch: starts the ranks of a run, watches them from outside, and begins again from the last checkpoint.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/rank_processes.h"
#include "model/checkpoint.h"
#include "runtime/os.h"
#include "runtime/socket.h"
#include "runtime/world.h"

enum {
  hosts_max = 1024,
  ranks_max = 4096,
  extra_max = 64,
  suspects_before_dropped = 2,
  join_seconds = 25,
  late_seconds = 10
};
static const double terminate_seconds = 10;   // between asking ranks to end and ending them
static const double interrupt_seconds = 120;  // for a run that was interrupted to save
static const double probe_seconds = 10;
static const double settle_seconds = 0.5;  // for the cause to be seen beside its consequences

typedef struct host {
  char name[256];
  uint32_t slots;     // 0: as many as fall to it
  uint32_t suspects;  // failures in a row that were laid to it
  bool is_gone;
} host;

typedef struct launch {
  int64_t ranks, restarts, minimum, port;
  double grace;
  const char *host_list, *host_file, *shell, *with, *other_program;
  const char *const *command;  // [command_count], "train" first
  size_t command_count;
  const char *out;  // of the run; NULL: the command has none
  char program[4096];
  host hosts[hosts_max];
  size_t host_count;

  // Of one attempt.
  uint32_t size;               // ranks
  uint32_t places[ranks_max];  // host of each rank
  rank_process *processes;     // [process_count]
  size_t process_count;        // ranks, or 1: mpirun or srun
  int64_t lost;                // the rank that the others have named; -1: none
  bool is_prefixed;
} launch;

// ---- hosts -------------------------------------------------------------------------------------------------------

static dure_status add_host(launch *l, const char *name, size_t length, uint32_t slots) {
  if (length == 0) return NULL;
  if (l->host_count == hosts_max) return dure_fail(DURE_INVALID_ARGUMENT, "more than %d hosts", hosts_max);
  host *h = &l->hosts[l->host_count++];
  *h = (host){.slots = slots};
  if (length >= sizeof(h->name) || name[0] == '-')
    return dure_fail(DURE_INVALID_ARGUMENT, "'%.*s' is no host's name", (int)(length < 80 ? length : 80), name);
  memcpy(h->name, name, length);
  return NULL;
}

// "a,b:4": a host's number of ranks may stand behind it.
static dure_status read_host_list(launch *l) {
  for (const char *entry = l->host_list; *entry != '\0';) {
    const size_t length = strcspn(entry, ","), name = strcspn(entry, ",:");
    const uint32_t slots = name < length ? (uint32_t)strtoul(entry + name + 1, NULL, 10) : 0;
    DURE_TRY(add_host(l, entry, name, slots));
    entry += length + (entry[length] == ',');
  }
  return NULL;
}

// "node slots=4" a line, as Open MPI has it; # begins a comment.
static dure_status read_host_file(launch *l) {
  char *bytes = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(l->host_file, 1 << 20, &bytes, &size));
  dure_status status = NULL;
  for (char *line = bytes; *line != '\0' && status == NULL;) {
    const size_t whole = strcspn(line, "\n");
    char *next = line + whole + (line[whole] == '\n');
    line[whole] = '\0';
    line[strcspn(line, "#")] = '\0';
    line += strspn(line, " \t\r");
    const char *slots = strstr(line, "slots=");
    status = add_host(l, line, strcspn(line, " \t\r"), slots != NULL ? (uint32_t)strtoul(slots + 6, NULL, 10) : 0);
    line = next;
  }
  free(bytes);
  return status;
}

static void drop_host(host *h, const char *why) {
  if (!h->is_gone) fprintf(stderr, "dure launch: going on without host %s: %s\n", h->name, why);
  h->is_gone = true;
}

// Gives ranks to hosts in blocks; fewer than asked for where hosts are gone.
static dure_status place_ranks(launch *l) {
  size_t there = 0;
  for (size_t i = 0; i < l->host_count; i++) {
    there += !l->hosts[i].is_gone;
  }
  const size_t gone = l->host_count - there;
  l->size = (uint32_t)l->ranks;
  if (l->host_count == 0) return NULL;
  const uint64_t share = ((uint64_t)l->ranks + l->host_count - 1) / l->host_count;
  uint32_t placed = 0;
  for (size_t i = 0; i < l->host_count; i++) {
    const host *h = &l->hosts[i];
    const uint64_t room = h->is_gone ? 0 : h->slots > 0 ? h->slots : share;
    for (uint64_t j = 0; j < room && placed < l->size; j++) l->places[placed++] = (uint32_t)i;
  }
  if (placed < l->size && gone == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "the hosts have places for %u ranks of the %" PRId64 " asked for", placed,
                     l->ranks);
  l->size = placed;
  if (placed >= l->minimum && placed > 0) return NULL;
  return dure_fail(DURE_RANK_LOST, "the hosts that are left have places for %u ranks; --min-ranks is %" PRId64, placed,
                   l->minimum);
}

// ---- starting ----------------------------------------------------------------------------------------------------

static bool has_argument(const launch *l, const char *name) {
  for (size_t i = 0; i < l->command_count; i++) {
    if (strcmp(l->command[i], name) == 0) return true;
  }
  return false;
}

static const char *value_of_argument(const launch *l, const char *name) {
  const size_t length = strlen(name);
  for (size_t i = 0; i < l->command_count; i++) {
    const char *argument = l->command[i];
    if (strncmp(argument, name, length) != 0) continue;
    if (argument[length] == '=') return argument + length + 1;
    if (argument[length] == '\0' && i + 1 < l->command_count) return l->command[i + 1];
  }
  return NULL;
}

static bool has_checkpoint(const launch *l) {
  char *directory = NULL;
  if (l->out == NULL) return false;
  dure_status status = dure_checkpoint_find(l->out, &directory);
  dure_status_free(status);
  const bool has_one = directory != NULL;
  free(directory);
  return has_one;
}

static bool is_run_by(const launch *l, const char *launcher) { return strcmp(l->with, launcher) == 0; }

// [NULL-terminated]; `leading` words (mpirun's) come first. free().
static const char **make_arguments(const launch *l, const char *const *leading, bool resumes) {
  size_t count = 0;
  const char **words = calloc(l->command_count + 24, sizeof(*words));
  if (words == NULL) return NULL;
  for (; leading != NULL && leading[count] != NULL; count++) words[count] = leading[count];
  words[count++] = l->program;
  for (size_t i = 0; i < l->command_count; i++) words[count++] = l->command[i];
  if (resumes && !has_argument(l, "--resume")) words[count++] = "--resume";
  return words;
}

typedef struct variables {
  char texts[8][64];
  const char *pairs[2 * (8 + extra_max) + 1];
  size_t count;
} variables;

static void set_variable(variables *v, const char *name, const char *value) {
  if (v->count + 2 >= sizeof(v->pairs) / sizeof(v->pairs[0])) return;
  v->pairs[v->count++] = name;
  v->pairs[v->count++] = value;
  v->pairs[v->count] = NULL;
}

static void set_number(variables *v, size_t slot, const char *name, uint64_t value) {
  snprintf(v->texts[slot], sizeof(v->texts[slot]), "%" PRIu64, value);
  set_variable(v, name, v->texts[slot]);
}

// What a remote rank would otherwise not get of this program's environment.
static void pass_variables(variables *v) {
  static const char *const names[] = {
      "VK_ICD_FILENAMES", "VK_DRIVER_FILES",   "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "DURE_CUDA_OFF",
      "DURE_CUDA_PLUGIN", "DURE_LOG",          "DURE_VULKAN_PROFILE",  "DURE_TRANSPORT",  "NCCL_SOCKET_IFNAME",
      "NCCL_DEBUG",       "XDG_CACHE_HOME",    "DURE_JOIN_SECONDS",    "DURE_TRACE",      "DURE_TRACE_SPANS",
      "DURE_ANY_BUILD",   "DURE_WAIT_SECONDS", "DURE_COLLECTIVE_CHUNK"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    const char *value = getenv(names[i]);
    if (value != NULL) set_variable(v, names[i], value);
  }
}

typedef struct meeting_place {
  char host[256];
  uint16_t port;
  char secret[40];
} meeting_place;

static dure_status find_meeting_place(const launch *l, meeting_place *out) {
  uint16_t drawn = 0;
  DURE_TRY(dure_world_draw_secret(out->secret, sizeof(out->secret)));
  DURE_TRY(dure_os_random(&drawn, sizeof(drawn)));
  snprintf(out->host, sizeof(out->host), "%s", l->host_count > 0 ? l->hosts[l->places[0]].name : "127.0.0.1");
  out->port = (uint16_t)l->port;
  if (l->port > 0) return NULL;
  if (l->host_count > 0) {  // nobody here knows what is free there
    out->port = (uint16_t)(20000 + drawn % 12000);
    return NULL;
  }
  int socket = -1;
  DURE_TRY(dure_socket_listen(0, &socket, &out->port));
  dure_socket_close(socket);
  return NULL;
}

static dure_status start_rank(launch *l, uint32_t rank, const meeting_place *where, bool resumes) {
  const char **arguments = make_arguments(l, NULL, resumes);
  if (arguments == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to start a rank");
  uint32_t local = 0, local_size = l->host_count == 0 ? l->size : 0;
  for (uint32_t i = 0; i < l->size && l->host_count > 0; i++) {
    if (l->places[i] != l->places[rank]) continue;
    local += i < rank;
    local_size++;
  }
  variables v = {0};
  set_number(&v, 0, "RANK", rank);
  set_number(&v, 1, "WORLD_SIZE", l->size);
  set_number(&v, 2, "LOCAL_RANK", l->host_count > 0 ? local : rank);
  set_number(&v, 3, "LOCAL_WORLD_SIZE", local_size);
  set_number(&v, 4, "MASTER_PORT", where->port);
  set_variable(&v, "MASTER_ADDR", where->host);
  // All are started at once: who does not come is noticed in the same time as who falls silent.
  if (getenv("DURE_JOIN_SECONDS") == NULL) set_number(&v, 5, "DURE_JOIN_SECONDS", join_seconds);
  rank_command command = {
      .arguments = arguments, .environment = v.pairs, .secret_name = "DURE_WORLD_SECRET", .secret = where->secret};
  if (l->host_count > 0) {
    command.remote_shell = l->shell;
    command.host = l->hosts[l->places[rank]].name;
    pass_variables(&v);
  }
  dure_status status = rank_process_start(&command, &l->processes[rank]);
  free(arguments);
  return status;
}

static dure_status start_launcher(launch *l, bool resumes) {
  char count[16];
  snprintf(count, sizeof(count), "%u", l->size);
  const char *mpirun[] = {"mpirun", "-n", count, "--oversubscribe", "--bind-to", "none", NULL, NULL, NULL};
  const char *srun[] = {"srun", "-n", count, "--kill-on-bad-exit=1", NULL};
  if (l->host_list != NULL) {
    mpirun[6] = "--host";
    mpirun[7] = l->host_list;
  } else if (l->host_file != NULL) {
    mpirun[6] = "--hostfile";
    mpirun[7] = l->host_file;
  }
  const char **arguments = make_arguments(l, is_run_by(l, "mpirun") ? mpirun : srun, resumes);
  if (arguments == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to start the ranks");
  const rank_command command = {.arguments = arguments};
  dure_status status = rank_process_start(&command, &l->processes[0]);
  free(arguments);
  return status;
}

static dure_status start_all(launch *l, bool resumes) {
  const bool is_direct = is_run_by(l, "direct");
  l->process_count = is_direct ? l->size : 1;
  l->is_prefixed = is_direct;
  l->lost = -1;
  l->processes = calloc(l->process_count, sizeof(*l->processes));
  if (l->processes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for %u ranks", l->size);
  for (size_t i = 0; i < l->process_count; i++)
    l->processes[i].input = l->processes[i].outputs[0].descriptor = l->processes[i].outputs[1].descriptor = -1;
  if (!is_direct) return start_launcher(l, resumes);
  meeting_place where;
  DURE_TRY(find_meeting_place(l, &where));
  for (uint32_t rank = 0; rank < l->size; rank++) DURE_TRY(start_rank(l, rank, &where, resumes));
  return NULL;
}

// ---- watching ----------------------------------------------------------------------------------------------------

// Rank 0 speaks as if it were alone; the others with their numbers. Who was lost is remembered.
static void show_line(void *context, size_t rank, int stream, const char *line) {
  launch *l = context;
  const char *mark = strstr(line, "rank ");
  const bool names_lost = mark != NULL && (strstr(mark, " is lost") != NULL || strstr(mark, " gave up") != NULL);
  if (names_lost && l->lost < 0) l->lost = strtol(mark + 5, NULL, 10);
  FILE *file = stream == 0 && rank == 0 ? stdout : stderr;
  if (rank > 0 && l->is_prefixed)
    fprintf(file, "[rank %zu] %s\n", rank, line);
  else
    fprintf(file, "%s\n", line);
  fflush(file);
}

static size_t count_running(const launch *l) {
  size_t count = 0;
  for (size_t i = 0; i < l->process_count; i++) count += l->processes[i].pid != 0;
  return count;
}

static void signal_all(launch *l, const char *name) {
  for (size_t i = 0; i < l->process_count; i++) rank_process_signal(&l->processes[i], name);
}

static void wait_all(launch *l, double seconds) {
  const uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(seconds * 1e9);
  while (count_running(l) > 0 && dure_os_nanoseconds() < deadline)
    rank_processes_poll(l->processes, l->process_count, 100, show_line, l);
}

static bool has_failed(const launch *l) {
  for (size_t i = 0; i < l->process_count; i++) {
    if (l->processes[i].has_ended && l->processes[i].code != 0) return true;
  }
  return false;
}

// Ranks of a training part together: one that still runs long after another has ended well is stopped, or cut off.
static bool is_late(const launch *l, uint64_t *first_end) {
  if (count_running(l) == l->process_count || !l->is_prefixed || l->other_program != NULL) return false;
  const uint64_t now = dure_os_nanoseconds();
  if (*first_end == 0) *first_end = now;
  return now - *first_end > late_seconds * UINT64_C(1000000000);
}

// Who runs still is the one that the others have named as lost: it will not end by itself.
static bool lost_alone_runs(const launch *l) {
  const bool is_known = l->is_prefixed && l->lost >= 0 && (size_t)l->lost < l->process_count;
  return is_known && count_running(l) == 1 && l->processes[l->lost].pid != 0;
}

// Of those that have failed the one that says most: a signal ended it, it was used wrongly, anything else.
static const rank_process *find_failed(const launch *l, size_t *out_rank) {
  const rank_process *found = NULL;
  int best = 0;
  for (size_t i = 0; i < l->process_count; i++) {
    const rank_process *p = &l->processes[i];
    if (!p->has_ended || p->code == 0) continue;
    const int worth = p->code > 128 ? 3 : p->code == EXIT_USAGE || p->code == EXIT_UNSUPPORTED ? 2 : 1;
    if (worth <= best) continue;
    best = worth;
    found = p;
    *out_rank = i;
  }
  return found;
}

// Ends what still runs: ranks that do not end by themselves within the grace are asked, then ended.
static void end_all(launch *l, double grace) {
  const uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(grace * 1e9);
  while (count_running(l) > 0 && !lost_alone_runs(l) && dure_os_nanoseconds() < deadline)
    rank_processes_poll(l->processes, l->process_count, 100, show_line, l);
  for (size_t i = 0; i < l->process_count && l->is_prefixed; i++) {
    if (l->processes[i].pid != 0) fprintf(stderr, "dure launch: rank %zu has not ended by itself: ending it\n", i);
  }
  if (count_running(l) > 0) signal_all(l, "TERM");
  wait_all(l, l->is_prefixed ? terminate_seconds / 5 : terminate_seconds);
  if (count_running(l) > 0) signal_all(l, "KILL");
  wait_all(l, terminate_seconds);
}

static void describe_end(const launch *l, size_t rank, const rank_process *process) {
  char who[300];
  if (!l->is_prefixed)
    snprintf(who, sizeof(who), "%s", l->with);
  else if (l->host_count > 0)
    snprintf(who, sizeof(who), "rank %zu (%s)", rank, l->hosts[l->places[rank]].name);
  else
    snprintf(who, sizeof(who), "rank %zu", rank);
  if (process->code > 128)
    fprintf(stderr, "dure launch: %s was ended by signal %d\n", who, process->code - 128);
  else
    fprintf(stderr, "dure launch: %s ended with status %d\n", who, process->code);
}

// Lays a failure to the host whose rank the others have named, or which could not be reached at all.
static void suspect_hosts(launch *l) {
  for (size_t i = 0; i < l->host_count; i++) {
    bool is_suspect = l->lost >= 0 && l->lost < l->size && l->places[l->lost] == i;
    for (uint32_t rank = 0; rank < l->size; rank++)
      is_suspect = is_suspect || (l->places[rank] == i && l->processes[rank].code == 255);  // ssh could not
    l->hosts[i].suspects = is_suspect ? l->hosts[i].suspects + 1 : 0;
  }
}

// Runs the ranks once; the exit status of the run.
static int attempt(launch *l, bool resumes, bool *out_may_repeat) {
  *out_may_repeat = false;
  dure_status status = start_all(l, resumes);
  size_t rank = 0;
  uint64_t first_end = 0;
  while (status == NULL && !has_failed(l) && count_running(l) > 0 && !is_late(l, &first_end) && !dure_os_interrupted())
    rank_processes_poll(l->processes, l->process_count, 200, show_line, l);
  if (status == NULL && has_failed(l)) wait_all(l, settle_seconds);
  const rank_process *failed = find_failed(l, &rank);
  int code = EXIT_FAILED;
  if (status != NULL) {
    signal_all(l, "KILL");
    code = command_finish("launch", status);
  } else if (dure_os_interrupted()) {
    signal_all(l, "TERM");
    wait_all(l, interrupt_seconds);
    end_all(l, 0);
  } else if (failed == NULL && count_running(l) > 0) {
    end_all(l, 0);
    *out_may_repeat = true;
  } else if (failed == NULL) {
    code = EXIT_DONE;
  } else {
    describe_end(l, rank, failed);
    code = failed->code == EXIT_USAGE || failed->code == EXIT_UNSUPPORTED ? failed->code : EXIT_FAILED;
    end_all(l, l->grace);
    *out_may_repeat = code == EXIT_FAILED;
    suspect_hosts(l);
  }
  for (size_t i = 0; i < l->process_count && l->processes != NULL; i++) rank_process_close(&l->processes[i]);
  free(l->processes);
  l->processes = NULL;
  return code;
}

static void look_for_hosts(launch *l) {
  for (size_t i = 0; i < l->host_count && is_run_by(l, "direct"); i++) {
    host *h = &l->hosts[i];
    if (h->is_gone) continue;
    if (!rank_host_answers(l->shell, h->name, probe_seconds))
      drop_host(h, "it does not answer");
    else if (h->suspects >= suspects_before_dropped)
      drop_host(h, "it was lost twice in a row");
  }
}

static int run(launch *l) {
  bool resumes = false;
  for (int64_t restart = 0;; restart++) {
    dure_status status = place_ranks(l);
    if (status != NULL) return command_refuse("launch", status);
    bool may_repeat = false;
    const int code = attempt(l, resumes, &may_repeat);
    if (!may_repeat || dure_os_interrupted()) return code;
    if (restart >= l->restarts) {
      if (l->restarts > 0) fprintf(stderr, "dure launch: failed after %" PRId64 " restarts\n", restart);
      return code;
    }
    look_for_hosts(l);
    resumes = has_checkpoint(l);
    fprintf(stderr, "dure launch: restart %" PRId64 " of %" PRId64 ", %s\n", restart + 1, l->restarts,
            resumes ? "from the last complete checkpoint" : "from the beginning: there is no checkpoint yet");
  }
}

// ---- options -----------------------------------------------------------------------------------------------------

static const char synopsis[] = "dure launch -n N [options] -- train ...";
static const char description[] =
    "Starts N ranks of a command (train) and watches them. A rank that dies, hangs or is cut off ends the others "
    "within "
    "a\n"
    "bounded time; with --restart-on-failure the run then goes on from its last complete checkpoint, with fewer ranks "
    "where\n"
    "hosts are gone. Ctrl-C ends all ranks after they have saved. Inside a Slurm allocation srun starts the ranks, "
    "else "
    "this\n"
    "program does: here, or on --hosts through a remote shell.";
static const char example[] =
    "dure launch -n 4 -- train --model config.json --data DATA --out RUN --steps 2000\n"
    "  dure launch -n 8 --hosts node1:4,node2:4 --restart-on-failure 10 --min-ranks 4 -- train --recipe r.yaml --out "
    "RUN";

static int parse(launch *l, int argc, char **argv) {
  const option_row rows[] = {
      {"n", OPTION_INTEGER, &l->ranks, "N", "ranks to start"},
      {"hosts", OPTION_TEXT, &l->host_list, "A,B:4", "hosts to start them on, each with its number of ranks"},
      {"hostfile", OPTION_TEXT, &l->host_file, "FILE", "the same as lines: 'node slots=4'"},
      {"with", OPTION_TEXT, &l->with, "HOW", "auto, direct, mpirun or srun"},
      {"remote-shell", OPTION_TEXT, &l->shell, "COMMAND", "how hosts are reached (ssh -o BatchMode=yes)"},
      {"restart-on-failure", OPTION_INTEGER, &l->restarts, "K", "begin again up to K times (0)"},
      {"min-ranks", OPTION_INTEGER, &l->minimum, "M", "go on with fewer ranks down to M (N)"},
      {"port", OPTION_INTEGER, &l->port, "P", "of rank 0 (any free one)"},
      {"program", OPTION_TEXT, &l->other_program, "FILE", "to start instead of dure: a script around it, a profiler"},
      {"grace", OPTION_NUMBER, &l->grace, "SECONDS", "for ranks to end by themselves after one failed (20)"},
  };
  const command_usage usage = {synopsis, description, rows, sizeof(rows) / sizeof(rows[0]), example, 1, SIZE_MAX};
  return command_parse(&usage, argc, argv, &l->command, &l->command_count);
}

static dure_status check(launch *l) {
  static const char *const ways[] = {"auto", "direct", "mpirun", "srun"};
  bool is_known = false;
  for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) is_known = is_known || strcmp(l->with, ways[i]) == 0;
  if (!is_known) return dure_fail(DURE_INVALID_ARGUMENT, "--with '%s': expected auto, direct, mpirun or srun", l->with);
  if (l->ranks < 1 || l->ranks > ranks_max)
    return dure_fail(DURE_INVALID_ARGUMENT, "-n must be given: a number of ranks from 1 to %d", ranks_max);
  if (l->minimum < 0 || l->minimum > l->ranks)
    return dure_fail(DURE_INVALID_ARGUMENT, "--min-ranks %" PRId64 " is not between 1 and the %" PRId64 " of -n",
                     l->minimum, l->ranks);
  if (l->minimum == 0) l->minimum = l->ranks;
  if (l->restarts < 0 || l->port < 0 || l->port > 65535 || !(l->grace >= 0))
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--restart-on-failure, --port and --grace cannot be negative, nor a port "
                     "above 65535");
  if (l->host_list != NULL && l->host_file != NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "--hosts and --hostfile say the same: give one of them");
  if (is_run_by(l, "auto")) l->with = getenv("SLURM_JOB_ID") != NULL && l->host_list == NULL ? "srun" : "direct";
  if (l->host_list != NULL) DURE_TRY(read_host_list(l));
  if (l->host_file != NULL) DURE_TRY(read_host_file(l));
  if (!is_run_by(l, "direct")) l->host_count = 0;  // theirs to place
  l->out = value_of_argument(l, "--out");
  if (l->restarts > 0 && l->out == NULL && strcmp(l->command[0], "train") == 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--restart-on-failure needs train's --out on the command line, to find "
                     "checkpoints");
  if (l->other_program != NULL) {
    snprintf(l->program, sizeof(l->program), "%.4000s", l->other_program);
    return NULL;
  }
  char *directory = NULL;
  DURE_TRY(dure_os_executable_directory(&directory));
  snprintf(l->program, sizeof(l->program), "%.4000s/dure", directory);
  free(directory);
  return NULL;
}

int command_launch(int argc, char **argv) {
  static launch l;
  l = (launch){.grace = 20, .with = "auto", .shell = "ssh -o BatchMode=yes"};
  int code = parse(&l, argc, argv);
  if (code >= 0) return code;
  dure_status status = check(&l);
  if (status != NULL) return command_refuse("launch", status);
  dure_os_catch_interrupts();
  return run(&l);
}
