// dure plan: will it train on this card, and how fast? Without weights, and
// without taking any memory.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "model/exchange_plan.h"
#include "model/ranks.h"
#include "model/tensor_parallel.h"
#include "model/training_choice.h"
#include "runtime/os.h"

enum { max_options = 64 };

typedef struct arguments {
  dure_train_options options;
  const char *recipe, *rates, *network;
  int64_t ranks;
  bool as_json;
} arguments;

// The run that is asked about, and the device whose kernels and limits count.
typedef struct planned {
  dure_model_config config;
  dure_parameter_layout layout;
  dure_device *device;
  dure_plan_request request;
  dure_training_plan plan;
  bool is_other_card;  // than the device
  uint32_t ranks;      // 1: alone
  uint64_t rows;       // of a step, of all ranks
  dure_exchange_plan exchange;
} planned;

// ---- for people ---------------------------------------------------------------------------------------------------

static const char *describe_bytes(uint64_t bytes, char text[32]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = (double)bytes;
  size_t unit = 0;
  for (; value >= 1000 && unit < 4; unit++) value /= 1024;
  snprintf(text, 32, unit == 0 ? "%.0f %s" : value < 10 ? "%.2f %s" : "%.1f %s", value, units[unit]);
  return text;
}

static const char *describe_place(uint64_t bytes, char text[32]) {
  if (bytes > 0) return describe_bytes(bytes, text);
  snprintf(text, 32, "-");
  return text;
}

static void print_question(const planned *p) {
  const dure_model_config *config = &p->config;
  const dure_training_options *o = &p->request.options;
  const dure_device_info *info = dure_device_get_info(p->device);
  printf("%s: %.1f M parameters, %u layers, %u wide, %u heads, vocabulary %u\n", config->family->model_type,
         (double)p->layout.element_count / 1e6, config->layer_count, config->width, config->head_count,
         config->vocabulary_size);
  printf("a step: %u x %u tokens", o->batch_size, o->context);
  if (o->accumulate > 1) printf(", %u times", o->accumulate);
  printf(", %s, AdamW%s\n", dure_dtype_name(dure_training_set_dtype(o, DURE_TRAINING_PARAMETERS)),
         p->request.evaluates ? ", held-out text scored now and then" : "");
  printf("kernels and limits: %s (%s%s%s)\n\n", info->identifier, info->name,
         info->profile[0] != '\0' ? ", with the limits of " : "", info->profile);
}

static void print_classes(const planned *p, const dure_training_footprint *f) {
  char device[32], host[32];
  printf("%-14s %12s %12s\n", "memory", "device", "host");
  for (int i = 0; i < DURE_PLAN_CLASS_COUNT; i++) {
    if (f->device_bytes[i] == 0 && f->host_bytes[i] == 0) continue;
    printf("%-14s %12s %12s\n", dure_plan_class_name((dure_plan_class)i), describe_place(f->device_bytes[i], device),
           describe_place(f->host_bytes[i], host));
  }
  printf("%-14s %12s %12s\n", "peak", describe_bytes(f->device_total, device), describe_place(f->host_total, host));
  if (p->request.budget > 0) printf("%-14s %12s\n", "budget", describe_bytes(p->request.budget, device));
}

// Steps on the way to the chosen number of blocks are left out.
static void print_tries(const planned *p) {
  const dure_training_plan *plan = &p->plan;
  if (plan->tried_count < 2) return;
  printf("\n%12s %10s  tried\n", "device", "s/step");
  for (size_t i = 0; i < plan->tried_count; i++) {
    const dure_training_footprint *f = &plan->tried[i];
    const bool is_chosen = i == plan->chosen && plan->fits;
    if (f->options.recompute != DURE_RECOMPUTE_NONE && f->options.recompute_blocks < p->config.layer_count &&
        !is_chosen)
      continue;
    char choice[160], bytes[32];
    dure_training_choice_describe(&f->options, p->config.layer_count, choice, sizeof(choice));
    printf("%12s %10.3g  %s%s\n", describe_bytes(f->device_total, bytes), f->seconds, choice,
           is_chosen ? "  <- chosen" : "");
  }
}

static void print_speed(const planned *p, const dure_training_footprint *f) {
  const dure_training_options *o = &f->options;
  const double tokens = (double)o->batch_size * o->context * o->accumulate;
  const double *seconds = f->device_time.seconds;
  printf("\npredicted: %.3g s a step, %.4g tokens/s (products %.3g s, attention %.3g s, the rest %.3g s)\n", f->seconds,
         tokens / f->seconds, seconds[DURE_TIME_MATMUL], seconds[DURE_TIME_ATTENTION], seconds[DURE_TIME_OTHER]);
  if (o->offloads_optimizer) {
    printf("of which AdamW on the host %.3g s, at an assumed %.3g GB/s of its memory", f->host_seconds,
           p->request.host_bandwidth / 1e9);
    if (f->transfer_seconds > 0)
      printf("; meanwhile gradients go there and parameters come back in %.3g s at %.3g GB/s", f->transfer_seconds,
             p->request.rates.transfer / 1e9);
    printf("\n");
  }
  printf("rates: %s%s\n", p->request.rates.source,
         p->request.rates.is_measured || p->is_other_card ? "" : " ('dure tune' measures this device's own)");
}

static void print_exchange(const planned *p) {
  if (p->ranks < 2) return;
  const dure_exchange_plan *e = &p->exchange;
  const dure_training_options *o = &p->plan.tried[p->plan.chosen].options;
  const double tokens = (double)p->rows * o->context;
  char sent[32];
  printf("\n%u ranks, %s: each sends %s a step, %.3g s", p->ranks, dure_sharding_describe(o->sharding),
         describe_bytes((uint64_t)e->sent_bytes, sent), e->seconds);
  printf(", of which computing does not hide %.3g s\n", e->exposed_seconds);
  printf("predicted together: %.3g s a step, %.4g tokens/s, %.1f %% of the rate of products\n", e->step_seconds,
         tokens / e->step_seconds, 100 * e->utilisation);
}

static void print_verdict(const planned *p) {
  const dure_training_plan *plan = &p->plan;
  const dure_training_footprint *chosen = &plan->tried[plan->chosen];
  char choice[160], bytes[32], aim[32];
  dure_training_choice_describe(&chosen->options, p->config.layer_count, choice, sizeof(choice));
  if (p->request.budget == 0) {
    printf("\nneeds %s: %s\n", describe_bytes(chosen->device_total, bytes), choice);
  } else if (!plan->fits) {
    printf("\nDOES NOT FIT: the least is %s (%s).\n", describe_bytes(chosen->device_total, bytes), choice);
    printf("Give --device-memory that much, or a smaller --batch-size or --context");
    if (p->request.options.dtype == DURE_DTYPE_F32) printf(", or --dtype bf16");
    printf("\n");
  } else {
    printf("\nfits: %s\n", choice);
    if (chosen->device_total > plan->aim) {
      printf("tight: more than %s, seven eighths of the budget; leave the device to this program alone\n",
             describe_bytes(plan->aim, aim));
    }
  }
}

static dure_status print_text(const planned *p) {
  const dure_training_footprint *chosen = &p->plan.tried[p->plan.chosen];
  print_question(p);
  print_classes(p, chosen);
  print_tries(p);
  print_speed(p, chosen);
  print_exchange(p);
  print_verdict(p);
  return output_check();
}

// ---- for machines -------------------------------------------------------------------------------------------------

static json_t *footprint_json(const planned *p, const dure_training_footprint *f) {
  char choice[160];
  dure_training_choice_describe(&f->options, p->config.layer_count, choice, sizeof(choice));
  json_t *device = json_object(), *host = json_object();
  for (int i = 0; i < DURE_PLAN_CLASS_COUNT; i++) {
    const char *name = dure_plan_class_name((dure_plan_class)i);
    json_object_set_new(device, name, json_integer((json_int_t)f->device_bytes[i]));
    json_object_set_new(host, name, json_integer((json_int_t)f->host_bytes[i]));
  }
  const double tokens = (double)f->options.batch_size * f->options.context * f->options.accumulate;
  return json_pack("{ss sI sI so so sf sf}", "choice", choice, "device_bytes", (json_int_t)f->device_total,
                   "host_bytes", (json_int_t)f->host_total, "device", device, "host", host, "seconds", f->seconds,
                   "tokens_per_second", tokens / f->seconds);
}

static dure_status print_json(const planned *p) {
  const dure_training_plan *plan = &p->plan;
  json_t *tried = json_array();
  for (size_t i = 0; i < plan->tried_count; i++) json_array_append_new(tried, footprint_json(p, &plan->tried[i]));
  const dure_exchange_plan *e = &p->exchange;
  json_t *ranks = p->ranks < 2 ? json_null()
                               : json_pack("{sI sf sf sf sf sf}", "ranks", (json_int_t)p->ranks, "sent_bytes",
                                           e->sent_bytes, "seconds", e->seconds, "exposed_seconds", e->exposed_seconds,
                                           "step_seconds", e->step_seconds, "utilisation", e->utilisation);
  return output_json(
      json_pack("{sb sI sI so so ss sI so}", "fits", (int)plan->fits, "budget_bytes", (json_int_t)p->request.budget,
                "least_bytes", (json_int_t)plan->tried[plan->smallest].device_total, "chosen",
                footprint_json(p, &plan->tried[plan->chosen]), "tried", tried, "rates", p->request.rates.source,
                "parameters", (json_int_t)p->layout.element_count, "ranks", ranks));
}

// ---- planning -----------------------------------------------------------------------------------------------------

static dure_status use_rates_of(const char *name, dure_plan_request *request) {
  DURE_TRY(dure_device_rates_find(name, &request->rates));
  request->shares_host_memory = false;
  snprintf(request->rates.source, sizeof(request->rates.source), "%.40s, predicted from published figures", name);
  return NULL;
}

// Without a budget given it is what the device has left now; that of another
// card is not known here.
static dure_status choose_budget(const arguments *a, planned *p) {
  p->request.budget = a->options.device_memory;
  if (p->request.budget > 0 || a->rates != NULL) return NULL;
  uint64_t used, peak;
  return dure_device_memory(p->device, &used, &peak, &p->request.budget);
}

// What the first of several ranks has, with the most rows.
static dure_status take_part(const arguments *a, planned *p) {
  p->rows = (uint64_t)a->options.batch_size * (uint64_t)a->options.accumulate;
  if (p->ranks < 2) return NULL;
  const uint32_t t = (uint32_t)a->options.tensor_parallel, s = (uint32_t)a->options.sequence_parallel;
  const uint32_t groups = p->ranks / t / s;
  dure_training_part part = {.shards = p->ranks / t, .tensor_parts = t, .sequence_parts = s};
  DURE_TRY(dure_sharding_parse(strcmp(a->options.shard, "auto") == 0 ? "none" : a->options.shard, &part.sharding));
  dure_ranks_cut_rows((p->rows + groups - 1) / groups, (uint64_t)a->options.batch_size, &part.batch_size,
                      &part.accumulate);
  return dure_training_choice_set_part(&p->request, &part);
}

static dure_status prepare(const arguments *a, planned *p) {
  double rate;
  DURE_TRY(dure_network_parse(a->network != NULL ? a->network : "1Gbit", &rate));
  if (a->ranks < 0 || a->ranks > 65536)
    return dure_fail(DURE_INVALID_ARGUMENT, "--ranks must be 1 to 65536; found %" PRId64, a->ranks);
  p->ranks = a->ranks > 1 ? (uint32_t)a->ranks : 1;
  const uint32_t t = (uint32_t)a->options.tensor_parallel, s = (uint32_t)a->options.sequence_parallel;
  if (p->ranks % (t * s) != 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--tensor-parallel %u and --sequence-parallel %u need a multiple of %u ranks; found --ranks %u", t,
                     s, t * s, p->ranks);
  DURE_TRY(dure_model_config_read(a->options.model, &p->config));
  DURE_TRY(dure_model_config_divide(&p->config, 0, t));
  DURE_TRY(dure_parameter_layout_create(&p->config, &p->layout));
  dure_parameter_layout_divide(&p->layout, p->ranks / t);
  DURE_TRY(dure_device_open(a->options.device, &p->device));
  dure_device_restrict(p->device, NULL, a->options.device_memory);
  DURE_TRY(dure_training_choice_request(&a->options, &p->config, &p->layout, p->device, DURE_DTYPE_NONE, &p->request));
  DURE_TRY(take_part(a, p));
  p->is_other_card = a->rates != NULL;
  if (a->rates != NULL) DURE_TRY(use_rates_of(a->rates, &p->request));
  DURE_TRY(choose_budget(a, p));
  DURE_TRY(dure_training_plan_make(&p->request, &p->plan));
  p->exchange = dure_exchange_plan_make(&p->request, &p->plan.tried[p->plan.chosen], rate);
  return NULL;
}

static dure_status run(const arguments *a, bool *out_fits) {
  planned p = {0};
  dure_status status = prepare(a, &p);
  if (status == NULL) status = a->as_json ? print_json(&p) : print_text(&p);
  *out_fits = p.plan.fits;
  dure_training_plan_clear(&p.plan);
  dure_device_close(p.device);
  dure_parameter_layout_clear(&p.layout);
  dure_model_config_clear(&p.config);
  return status;
}

// ---- options ------------------------------------------------------------------------------------------------------

static const char synopsis[] =
    "dure plan --model CONFIG_OR_DIR [--batch-size "
    "N --context N --device-memory 8GiB ...]";
static const char description[] =
    "Says whether a model will train on a device, what memory goes where, what "
    "is recomputed or put on the host to "
    "make\n"
    "it fit, and how long a step would take. Nothing is run: a config.json is "
    "enough, and the card need not be here\n"
    "(--rates rtx4060 predicts from its published figures). --recompute and "
    "--offload auto choose the fastest way "
    "that\n"
    "fits, as training does. Exit status 0: it fits; 1: it does not.";
static const char example[] =
    "dure plan --model config.json --batch-size 1 --context 2048 --dtype bf16 "
    "--device-memory 8GiB --rates rtx4060";

static bool is_planned_for(const char *name) {
  static const char *const names[] = {
      "model",      "device",     "device-memory", "batch-size",       "context",
      "accumulate", "dtype",      "masters",       "optimizer-states", "recompute",
      "offload",    "eval-every", "shard",         "tensor-parallel",  "sequence-parallel"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strcmp(name, names[i]) == 0) return true;
  }
  return false;
}

static int parse(arguments *a, int argc, char **argv) {
  static const option_kind kinds[] = {OPTION_TEXT, OPTION_INTEGER, OPTION_NUMBER, OPTION_FLAG, OPTION_SIZE};
  option_row rows[max_options];
  size_t count = 0, table_count;
  rows[count++] = (option_row){"recipe", OPTION_TEXT, &a->recipe, "FILE", "options of dure train from a YAML file"};
  const dure_train_option_row *table = dure_train_option_rows(&table_count);
  for (size_t i = 0; i < table_count && count < max_options - 4; i++) {
    if (!is_planned_for(table[i].name)) continue;
    void *value = (char *)&a->options + table[i].offset;
    rows[count++] = (option_row){table[i].name, kinds[table[i].kind], value, table[i].placeholder, table[i].help};
  }
  rows[count++] = (option_row){"ranks", OPTION_INTEGER, &a->ranks, "N", "of so many ranks, what one takes and sends"};
  rows[count++] = (option_row){"network", OPTION_TEXT, &a->network, "RATE",
                               "between them: 1Gbit, 12.5GB, PCIe4, NVLink4, InfiniBand, ... (default 1Gbit)"};
  rows[count++] = (option_row){"rates", OPTION_TEXT, &a->rates, "NAME", "predict for another card, such as rtx4060"};
  rows[count++] = (option_row){"json", OPTION_FLAG, &a->as_json, NULL, "one JSON object on standard output"};
  const command_usage usage = {synopsis, description, rows, count, example, 0, 0};
  return command_parse(&usage, argc, argv, NULL, NULL);
}

// A recipe's options, then the command line's over them.
static int gather(arguments *a, int argc, char **argv) {
  int code = parse(a, argc, argv);
  if (code >= 0 || a->recipe == NULL) return code;
  dure_train_options_default(&a->options);
  dure_status status = dure_train_options_read_recipe(&a->options, a->recipe);
  if (status != NULL) return command_finish("plan", status);
  return parse(a, argc, argv);
}

// As for a run, which has data and a directory besides.
static dure_status check(const dure_train_options *options) {
  dure_train_options run = *options;
  if (run.data == NULL) run.data = "DATA";
  if (run.out == NULL) run.out = "RUN";
  return dure_train_options_check(&run);
}

int command_plan(int argc, char **argv) {
  arguments a = {0};
  dure_train_options_default(&a.options);
  int code = gather(&a, argc, argv);
  if (code < 0) {
    dure_status status = check(&a.options);
    if (status != NULL) code = command_refuse("plan", status);
  }
  if (code < 0) {
    bool fits = false;
    code = command_finish("plan", run(&a, &fits));
    if (code == EXIT_DONE && !fits) code = EXIT_FAILED;
  }
  dure_train_options_clear(&a.options);
  return code;
}
