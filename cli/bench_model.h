// dure bench MODEL: how fast a model takes prompts and generates; and two such measurements compared.
#ifndef DURE_CLI_BENCH_MODEL_H_
#define DURE_CLI_BENCH_MODEL_H_

// As command_bench, when argv[1] is a model, or "compare".
int bench_model(int argc, char **argv);
int bench_compare(int argc, char **argv);

#endif  // DURE_CLI_BENCH_MODEL_H_
