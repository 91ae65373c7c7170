#!/usr/bin/env bash
# Unit, gradient and conformance tests under AddressSanitizer (leaks included) and UndefinedBehaviorSanitizer, without
# any suppression.
. "$(dirname "$0")/common.sh"
build_preset asan
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export CK_TIMEOUT_MULTIPLIER=4  # Check's own limits are for fast builds
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export DURE_TEST_EVERY=9  # of the conformance cases
if [ "${DURE_FULL:-0}" = 1 ]; then
  DURE_TEST_EVERY=1
else
  unset VK_ADD_DRIVER_FILES  # one driver: what is looked at here is our code, and a second one doubles the compiling
fi
ctest --test-dir build-asan -L '^(unit|gradient|conformance)$' --no-tests=error --output-on-failure -j "$(nproc)"
