// What launchers leave in the environment of the processes that they start.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/world/internal.h"

static const char *value_of(const char *name) {
  const char *value = getenv(name);
  return value != NULL && value[0] != '\0' ? value : NULL;
}

static dure_status read_number(const char *name, uint64_t limit, uint64_t *out_number) {
  *out_number = 0;
  const char *text = value_of(name);
  if (text == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "the launcher has not set %s in the environment", name);
  char *end = NULL;
  const unsigned long long number = strtoull(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || number > limit)
    return dure_fail(DURE_INVALID_ARGUMENT, "the environment's %s is '%s': expected a number up to %llu", name, text,
                     (unsigned long long)limit);
  *out_number = number;
  return NULL;
}

double dure_world_join_seconds(double asked) {
  static const double unless_said = 120;
  const char *text = value_of("DURE_JOIN_SECONDS");
  const double set = text != NULL ? strtod(text, NULL) : 0;
  if (asked > 0) return asked;
  return set > 0 ? set : unless_said;
}

// The first name of a list of Slurm's: "node[03-10,12],gpu1" begins with node03.
static void first_of_nodes(const char *list, char *out_host, size_t size) {
  size_t length = strcspn(list, "[,"), used = 0;
  for (; used < length && used + 1 < size; used++) out_host[used] = list[used];
  if (list[length] == '[') {
    for (const char *digit = list + length + 1; *digit >= '0' && *digit <= '9' && used + 1 < size; digit++)
      out_host[used++] = *digit;
  }
  out_host[used] = '\0';
}

static dure_status read_address(dure_launch *launch) {
  const char *file = value_of("DURE_WORLD_FILE");
  if (file != NULL && strlen(file) >= sizeof(launch->file))
    return dure_fail(DURE_INVALID_ARGUMENT, "the environment's DURE_WORLD_FILE is longer than %zu bytes",
                     sizeof(launch->file) - 1);
  snprintf(launch->file, sizeof(launch->file), "%s", file != NULL ? file : "");
  const char *host = value_of("MASTER_ADDR"), *nodes = value_of("SLURM_STEP_NODELIST");
  if (nodes == NULL) nodes = value_of("SLURM_JOB_NODELIST");
  if (host != NULL)
    snprintf(launch->host, sizeof(launch->host), "%s", host);
  else if (strcmp(launch->launcher, "srun") == 0 && nodes != NULL)
    first_of_nodes(nodes, launch->host, sizeof(launch->host));
  uint64_t port = 0;
  if (value_of("MASTER_PORT") != NULL) {
    DURE_TRY(read_number("MASTER_PORT", 65534, &port));
    // torchrun's own store listens on the port that it names.
    if (value_of("TORCHELASTIC_RUN_ID") != NULL) port++;
  } else if (strcmp(launch->launcher, "srun") == 0 && value_of("SLURM_JOB_ID") != NULL) {
    uint64_t job = 0, step = 0;
    DURE_TRY(read_number("SLURM_JOB_ID", UINT32_MAX, &job));
    if (value_of("SLURM_STEP_ID") != NULL) DURE_TRY(read_number("SLURM_STEP_ID", UINT32_MAX, &step));
    port = 20000 + (job * 31 + step) % 12000;  // below the ports that systems give out by themselves
  }
  launch->port = (uint16_t)port;
  return NULL;
}

dure_status dure_launch_read(dure_launch *out_launch) {
  static const struct {
    const char *launcher, *rank, *size;
  } rows[] = {
      {"torchrun", "RANK", "WORLD_SIZE"},  // before the others: dure launch sets these for whatever starts its ranks
      {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
      {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
      {"mpirun", "PMI_RANK", "PMI_SIZE"},
  };
  *out_launch = (dure_launch){.size = 1};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    if (value_of(rows[i].rank) == NULL || value_of(rows[i].size) == NULL) continue;
    uint64_t rank = 0, size = 0;
    DURE_TRY(read_number(rows[i].rank, UINT32_MAX - 1, &rank));
    DURE_TRY(read_number(rows[i].size, 65536, &size));
    if (size == 0 || rank >= size)
      return dure_fail(DURE_INVALID_ARGUMENT, "the environment says %s=%llu and %s=%llu: ranks are numbered from 0",
                       rows[i].rank, (unsigned long long)rank, rows[i].size, (unsigned long long)size);
    out_launch->launcher = rows[i].launcher;
    out_launch->rank = (uint32_t)rank;
    out_launch->size = (uint32_t)size;
    return read_address(out_launch);
  }
  if (value_of("RANK") != NULL || value_of("WORLD_SIZE") != NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "the environment has only one of RANK and WORLD_SIZE: set both, or none");
  return NULL;
}
