#include "model/ranks.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/os.h"
#include "runtime/program.h"

// ---- joining -----------------------------------------------------------------------------------------------------

// What may differ from rank to rank.
static const char *const own_options[] = {"device", "device-memory"};

enum { sampled_bytes = 1 << 20 };

// Of a file's size, beginning and end; a file that is not there adds nothing.
static void hash_file(XXH64_state_t *hash, const char *path) {
  FILE *file = fopen(path, "rb");
  char *bytes = malloc(sampled_bytes);
  if (file != NULL && bytes != NULL) {
    const size_t first = fread(bytes, 1, sampled_bytes, file);
    (void)XXH64_update(hash, bytes, first);
    if (first == sampled_bytes && fseek(file, -(long)sampled_bytes, SEEK_END) == 0) {
      const long size = ftell(file);
      (void)XXH64_update(hash, &size, sizeof(size));
      (void)XXH64_update(hash, bytes, fread(bytes, 1, sampled_bytes, file));
    }
  }
  free(bytes);
  if (file != NULL) fclose(file);
}

// What an index names: models tuned from one another share the index.
static void hash_shards(XXH64_state_t *hash, const char *model) {
  char **names = NULL;
  size_t count = 0;
  if (model == NULL || !dure_os_is_directory(model)) return;
  dure_status_free(dure_os_list(model, &names, &count));  // sorted
  for (size_t i = 0; i < count; i++) {
    char path[4096];
    const size_t length = strlen(names[i]);
    if (strncmp(names[i], "model-", 6) != 0 || length < 12 || strcmp(names[i] + length - 12, ".safetensors") != 0)
      continue;
    snprintf(path, sizeof(path), "%.3800s/%.250s", model, names[i]);
    hash_file(hash, path);
  }
  dure_os_names_free(names, count);
}

// Ranks that read other files under the same name would train another model each.
static uint64_t hash_model(const char *model) {
  static const char *const names[] = {"", "/config.json", "/model.safetensors", "/model.safetensors.index.json"};
  XXH64_state_t *hash = XXH64_createState();
  if (hash == NULL) return 0;
  (void)XXH64_reset(hash, 0);
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && model != NULL; i++) {
    char path[4096];
    snprintf(path, sizeof(path), "%.4000s%s", model, names[i]);
    if (dure_os_is_file(path)) hash_file(hash, path);
  }
  hash_shards(hash, model);
  const uint64_t value = XXH64_digest(hash);
  XXH64_freeState(hash);
  return value;
}

// The options as text, without a rank's own, and the data and the model: a line each.
static char *describe_run(const dure_train_options *options, uint64_t data_hash) {
  json_t *json = dure_train_options_to_json(options);
  for (size_t i = 0; i < sizeof(own_options) / sizeof(own_options[0]); i++) (void)json_object_del(json, own_options[i]);
  char hash[32];
  snprintf(hash, sizeof(hash), "%016" PRIx64, data_hash);
  json_object_set_new(json, "the data's hash", json_string(hash));
  snprintf(hash, sizeof(hash), "%016" PRIx64, hash_model(options->model));
  json_object_set_new(json, "the model's hash", json_string(hash));
  char *text = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
  json_decref(json);
  return text;
}

// Which parts this rank has: of neighbours those of matrices differ first, then those of sequences.
static dure_status find_parts(const dure_train_options *options, dure_ranks *ranks) {
  const uint32_t size = ranks->place.size, rank = ranks->place.rank;
  ranks->tensor_parts = (uint32_t)options->tensor_parallel;
  ranks->sequence_parts = (uint32_t)options->sequence_parallel;
  const uint32_t parts = ranks->tensor_parts * ranks->sequence_parts;
  if (size % parts != 0) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--tensor-parallel %u and --sequence-parallel %u need a multiple of %u ranks; there %s %u",
                     ranks->tensor_parts, ranks->sequence_parts, parts, size == 1 ? "is" : "are", size);
  }
  ranks->tensor_part = rank % ranks->tensor_parts;
  ranks->sequence_part = rank / ranks->tensor_parts % ranks->sequence_parts;
  ranks->row_group = rank / parts;
  ranks->row_groups = size / parts;
  return NULL;
}

dure_status dure_ranks_join(const dure_train_options *options, uint64_t data_hash, dure_ranks *out_ranks) {
  memset(out_ranks, 0, sizeof(*out_ranks));
  out_ranks->place = (dure_world_place){.size = 1, .node_count = 1, .local_size = 1};
  out_ranks->shards = 1;
  char *fingerprint = describe_run(options, data_hash);
  if (fingerprint == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory joining the other ranks");
  const dure_world_options how = {.fingerprint = fingerprint, .wait_seconds = options->wait_seconds};
  dure_status status = dure_world_join(&how, &out_ranks->world);
  free(fingerprint);
  DURE_TRY(status);
  out_ranks->place = dure_world_get_place(out_ranks->world);
  status = find_parts(options, out_ranks);
  if (out_ranks->place.size > 1) return status;
  dure_world_leave(out_ranks->world, NULL);
  out_ranks->world = NULL;
  return status;
}

void dure_ranks_leave(dure_ranks *ranks, dure_status failure) {
  dure_communicator_destroy(ranks->exchange.sequence);
  dure_communicator_destroy(ranks->exchange.tensor);
  dure_communicator_destroy(ranks->exchange.across);
  dure_communicator_destroy(ranks->exchange.within);
  ranks->exchange = (dure_exchange_ranks){0};
  dure_world_leave(ranks->replicas, failure);
  dure_world_leave(ranks->group, failure);
  dure_world_leave(ranks->sequence, failure);
  dure_world_leave(ranks->tensor, failure);
  dure_world_leave(ranks->alike, failure);
  dure_world_leave(ranks->world, failure);
  ranks->world = ranks->alike = ranks->tensor = ranks->sequence = ranks->group = ranks->replicas = NULL;
}

dure_status dure_ranks_vote(const dure_ranks *ranks, double *values, size_t count) {
  return ranks->world != NULL ? dure_world_reduce(ranks->world, DURE_REDUCTION_MAXIMUM, values, count) : NULL;
}

dure_status dure_ranks_sum(const dure_ranks *ranks, double *values, size_t count) {
  return ranks->world != NULL ? dure_world_reduce(ranks->world, DURE_REDUCTION_SUM, values, count) : NULL;
}

enum { text_size = 512 };

dure_status dure_ranks_agree_among(dure_world *world, const char *what, const char *text) {
  const uint32_t size = dure_world_get_place(world).size;
  char mine[text_size] = "", (*all)[text_size] = calloc(size, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory asking the other ranks");
  snprintf(mine, sizeof(mine), "%s", text);
  dure_status status = dure_world_gather(world, mine, sizeof(mine), all);
  for (uint32_t i = 1; status == NULL && i < size; i++) {
    if (strcmp(all[i], all[0]) == 0) continue;
    status = dure_fail(DURE_INVALID_ARGUMENT, "%s must be the same on all ranks: %s has '%s', but %s '%s'%s", what,
                       dure_world_rank_name(world, i), all[i], dure_world_rank_name(world, 0), all[0],
                       what[0] == '-' ? "; say it on the command line" : "");
  }
  free(all);
  return status;
}

dure_status dure_ranks_agree(const dure_ranks *ranks, const char *what, const char *text) {
  return ranks->world != NULL ? dure_ranks_agree_among(ranks->world, what, text) : NULL;
}

// ---- devices -----------------------------------------------------------------------------------------------------

// The device with number `wanted` modulo their count among those of a backend ("auto": of the best device's).
static dure_status number_device(uint32_t wanted, char name[64]) {
  dure_device_info *infos = NULL;
  size_t count = 0, usable = 0;
  DURE_TRY(dure_devices_list(&infos, &count, NULL));
  char backend[64];
  memcpy(backend, name, sizeof(backend));
  const char *chosen = strcmp(backend, "auto") == 0 ? NULL : backend;
  for (int pass = 0; pass < 2; pass++) {
    size_t number = 0;
    for (size_t i = 0; i < count; i++) {
      if (!infos[i].usable) continue;
      if (chosen == NULL) chosen = infos[i].backend;
      if (strcmp(infos[i].backend, chosen) != 0 || infos[i].kind == DURE_DEVICE_CPU) continue;
      if (pass == 1 && number == wanted % usable) snprintf(name, 64, "%s", infos[i].identifier);
      number++;
    }
    usable = number;
    if (usable == 0) break;
  }
  free(infos);
  return NULL;
}

dure_status dure_ranks_device(const dure_ranks *ranks, const char *devices, char out_name[64]) {
  const char *begin = devices != NULL ? devices : "auto";
  const uint32_t number = ranks->place.local_rank;
  for (uint32_t i = 0; i < number; i++) {
    const char *comma = strchr(begin, ',');
    if (comma == NULL) break;
    begin = comma + 1;
  }
  snprintf(out_name, 64, "%.*s", (int)strcspn(begin, ","), begin);
  const bool has_number = strchr(out_name, ':') != NULL || strcmp(out_name, "reference") == 0;
  if (ranks->place.local_size == 1 || has_number || strchr(devices != NULL ? devices : "", ',') != NULL) return NULL;
  return number_device(number, out_name);
}

// ---- speed -------------------------------------------------------------------------------------------------------

enum { speed_size = 384, speed_products = 4, speed_repeats = 3 };

static dure_status compile_products(dure_device *device, dure_executable **out_executable) {
  const uint64_t shape[2] = {speed_size, speed_size};
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory measuring a device");
  const dure_tensor matrix = dure_tensor_external(program, "matrix", DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor x = matrix;
  for (int i = 0; i < speed_products; i++) x = dure_matmul(program, x, matrix, DURE_ABSENT, false, false);
  dure_status status =
      dure_program_compile(program, device, NULL, 0, &(dure_compile_options){.label = "measure"}, out_executable);
  dure_program_destroy(program);
  return status;
}

dure_status dure_ranks_measure(const dure_ranks *ranks, const dure_train_options *options, dure_device *device,
                               dure_stream *stream, double *out_speed) {
  *out_speed = 1;
  if (ranks->world == NULL || strcmp(options->rank_share, "auto") != 0) return NULL;
  dure_executable *executable = NULL;
  dure_status status = compile_products(device, &executable);
  double best = INFINITY;
  for (int i = 0; status == NULL && i <= speed_repeats; i++) {  // the first compiles kernels
    const uint64_t begin = dure_os_nanoseconds();
    status = dure_executable_submit(executable, stream);
    if (status == NULL) status = dure_stream_wait(stream, 0);
    if (i > 0) best = fmin(best, (double)(dure_os_nanoseconds() - begin));
  }
  dure_executable_destroy(executable);
  if (status == NULL) *out_speed = 1e9 / fmax(best, 1);
  return status;
}

// ---- rows --------------------------------------------------------------------------------------------------------

static dure_status read_weights(const dure_ranks *ranks, const char *text, double *weights) {
  const char *at = text;
  for (uint32_t i = 0; i < ranks->row_groups; i++) {
    char *end = NULL;
    weights[i] = strtod(at, &end);
    const bool is_last = i + 1 == ranks->row_groups;
    if (end == at || !(weights[i] > 0) || !isfinite(weights[i]) || *end != (is_last ? '\0' : ':')) {
      return dure_fail(
          DURE_INVALID_ARGUMENT,
          "--rank-share is auto, equal, or a positive number for each of the %u ranks (or groups of them that have the "
          "same rows), as in 2:1:1; found "
          "'%.60s'",
          ranks->row_groups, text);
    }
    at = end + 1;
  }
  return NULL;
}

// Rows in proportion to weights, by largest remainders; everybody gets at least one.
static void divide_rows(const double *weights, uint32_t count, uint64_t rows, uint64_t *out_rows) {
  double sum = 0;
  uint64_t left = rows - count;
  for (uint32_t i = 0; i < count; i++) sum += weights[i];
  for (uint32_t i = 0; i < count; i++) {
    const double exact = weights[i] / sum * (double)rows - 1;
    out_rows[i] = 1 + (exact > 0 ? (uint64_t)fmin(exact, (double)left) : 0);
    left -= out_rows[i] - 1;
  }
  while (left > 0) {
    uint32_t neediest = 0;
    double most = -INFINITY;
    for (uint32_t i = 0; i < count; i++) {
      const double lack = weights[i] / sum * (double)rows - (double)out_rows[i];
      if (lack > most + 1e-9) neediest = i, most = lack;
    }
    out_rows[neediest]++;
    left--;
  }
}

// Weights of all ranks; `speed` is this one's.
static dure_status weigh(const dure_ranks *ranks, const char *share, double speed, double *weights) {
  const uint32_t count = ranks->row_groups;
  for (uint32_t i = 0; i < count; i++) weights[i] = 1;
  if (strcmp(share, "equal") == 0) return NULL;
  if (strcmp(share, "auto") != 0) return read_weights(ranks, share, weights);
  for (uint32_t i = 0; i < count; i++) weights[i] = i == ranks->row_group ? speed : 0;
  return dure_ranks_sum(ranks, weights, count);
}

void dure_ranks_cut_rows(uint64_t rows, uint64_t largest, uint32_t *out_batch_size, uint32_t *out_accumulate) {
  *out_accumulate = (uint32_t)((rows + largest - 1) / largest);
  *out_batch_size = (uint32_t)((rows + *out_accumulate - 1) / *out_accumulate);
}

dure_status dure_ranks_share(dure_ranks *ranks, const dure_train_options *options, double speed) {
  const uint64_t B = (uint64_t)options->batch_size, rows = B * (uint64_t)options->accumulate;
  const uint32_t count = ranks->row_groups;
  ranks->row_count = rows;
  ranks->batch_size = (uint32_t)B;
  ranks->accumulate = (uint32_t)options->accumulate;
  if (ranks->world == NULL) return NULL;
  if (rows < count) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "a step has %" PRIu64
                     " rows (--batch-size times --accumulate), too few for %u ranks or groups of them",
                     rows, count);
  }
  double *weights = calloc(count, sizeof(*weights));
  uint64_t *counts = calloc(count, sizeof(*counts));
  dure_status status = weights == NULL || counts == NULL
                           ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory sharing a step's rows")
                           : weigh(ranks, options->rank_share, speed, weights);
  if (status == NULL) {
    divide_rows(weights, count, rows, counts);
    uint64_t most = 1;
    ranks->first_row = 0;
    for (uint32_t i = 0; i < count; i++) most = counts[i] > most ? counts[i] : most;
    for (uint32_t i = 0; i < ranks->row_group; i++) ranks->first_row += counts[i];
    ranks->row_count = counts[ranks->row_group];
    // Where parts of gradients are kept every micro-step has its collectives: all ranks make as many.
    dure_ranks_cut_rows(most, B, &ranks->batch_size, &ranks->accumulate);
    ranks->batch_size = (uint32_t)((ranks->row_count + ranks->accumulate - 1) / ranks->accumulate);
  }
  free(weights);
  free(counts);
  return status;
}

// ---- parts -------------------------------------------------------------------------------------------------------

dure_status dure_sharding_parse(const char *word, dure_sharding *out_sharding) {
  static const char *const words[DURE_SHARDING_COUNT] = {"none", "optimizer", "gradients", "parameters"};
  for (int i = 0; i < DURE_SHARDING_COUNT; i++) {
    *out_sharding = (dure_sharding)i;
    if (strcmp(word, words[i]) == 0) return NULL;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "--shard is auto, none, optimizer, gradients or parameters; found '%.40s'",
                   word);
}

// Replicas that different devices update would drift apart: there each part is updated by one rank alone.
static dure_status choose_sharding(dure_ranks *ranks, const char *word, dure_device *device) {
  if (strcmp(word, "auto") != 0) return dure_sharding_parse(word, &ranks->sharding);
  const dure_device_info *info = dure_device_get_info(device);
  char mine[text_size] = "", (*all)[text_size] = calloc(ranks->place.size, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory asking the other ranks");
  snprintf(mine, sizeof(mine), "%.200s %.200s %.90s", info->name, info->driver, info->kernels);
  dure_status status = dure_world_gather(ranks->world, mine, sizeof(mine), all);
  ranks->sharding = DURE_SHARDING_NONE;
  for (uint32_t i = 1; status == NULL && i < ranks->place.size; i++)
    if (strcmp(all[i], all[0]) != 0) ranks->sharding = DURE_SHARDING_OPTIMIZER;
  free(all);
  return status;
}

static dure_status split_by_machines(dure_ranks *ranks, dure_world *alike) {
  const dure_world_place place = dure_world_get_place(alike);
  double sizes[2] = {place.local_size, -(double)place.local_size};
  DURE_TRY(dure_ranks_vote(ranks, sizes, 2));
  if (sizes[0] != -sizes[1]) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--shard-within node needs as many ranks on every machine; there are %g to %g", -sizes[1],
                     sizes[0]);
  }
  if (place.node_count < 2 || place.local_size < 2) return NULL;
  ranks->shard = place.local_rank;
  ranks->shards = place.local_size;
  ranks->replica = place.node;
  DURE_TRY(dure_world_split(alike, place.node, place.rank, &ranks->group));
  return dure_world_split(alike, place.local_rank, place.rank, &ranks->replicas);
}

// The groups of ranks that have parts of the same matrices and of the same tokens, and their communicators.
static dure_status connect_parts(dure_ranks *ranks, const char *kind, dure_device *device) {
  const uint32_t rank = ranks->place.rank;
  if (ranks->tensor_parts > 1) {
    DURE_TRY(dure_world_split(ranks->world, ranks->tensor_part, rank, &ranks->alike));
    DURE_TRY(dure_world_split(ranks->world, rank / ranks->tensor_parts, rank, &ranks->tensor));
    DURE_TRY(dure_communicator_create(ranks->tensor, device, kind, &ranks->exchange.tensor));
  }
  if (ranks->sequence_parts < 2) return NULL;
  const uint32_t group = ranks->row_group * ranks->tensor_parts + ranks->tensor_part;
  DURE_TRY(dure_world_split(ranks->world, group, rank, &ranks->sequence));
  return dure_communicator_create(ranks->sequence, device, kind, &ranks->exchange.sequence);
}

dure_status dure_ranks_connect(dure_ranks *ranks, const dure_train_options *options, dure_device *device) {
  dure_sharding sharding;
  if (strcmp(options->shard, "auto") != 0) DURE_TRY(dure_sharding_parse(options->shard, &sharding));
  if (ranks->world == NULL) return NULL;
  DURE_TRY(choose_sharding(ranks, options->shard, device));
  const bool is_by_node = strcmp(options->shard_within, "node") == 0;
  if (!is_by_node && strcmp(options->shard_within, "all") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--shard-within is all or node; found '%.40s'", options->shard_within);
  DURE_TRY(connect_parts(ranks, options->communicator, device));
  dure_world *alike = ranks->alike != NULL ? ranks->alike : ranks->world;
  const dure_world_place place = dure_world_get_place(alike);
  ranks->shard = place.rank;
  ranks->shards = place.size;
  if (is_by_node) DURE_TRY(split_by_machines(ranks, alike));  // all ranks vote there
  dure_world *group = ranks->group != NULL ? ranks->group : alike;
  DURE_TRY(dure_communicator_create(group, device, options->communicator, &ranks->exchange.within));
  if (ranks->replicas == NULL) return NULL;
  return dure_communicator_create(ranks->replicas, device, options->communicator, &ranks->exchange.across);
}
