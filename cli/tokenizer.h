// The actions of `dure tokenizer` that have a file of their own; argv[0] is "tokenizer NAME".
#ifndef DURE_CLI_TOKENIZER_H_
#define DURE_CLI_TOKENIZER_H_

int tokenizer_fertility(int argc, char **argv);
int tokenizer_train(int argc, char **argv);
int tokenizer_convert(int argc, char **argv);

#endif  // DURE_CLI_TOKENIZER_H_
