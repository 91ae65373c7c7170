#include "cli/command.h"

int command_devices(int argc, char **argv) {
  (void)argc;
  (void)argv;
  return EXIT_DONE;
}
