#!/usr/bin/env bash
# The conformance suite with the devices' optional features switched off: all at once (a quarter of the cases), and with
# DURE_FULL=1 each alone (all cases).
. "$(dirname "$0")/common.sh"
mapfile -t features < <(sed -n 's/^DURE_VULKAN_FEATURE([A-Z0-9_]*, "\([a-z0-9_]*\)", \(KERNEL\|RUNTIME\),.*/\1/p' \
  runtime/vulkan/features.def)
[ "${#features[@]}" -gt 5 ] || { echo "runtime/vulkan/features.def lists no features"; exit 1; }

export DURE_TEST_EVERY=4
[ "${DURE_FULL:-0}" != 1 ] || DURE_TEST_EVERY=1

run_without() {
  local test=$DURE_BUILD_DIR/tests/test_conformance_every_device began=$SECONDS output
  output=$(mktemp)
  DURE_VULKAN_DISABLE=$1 "$test" >"$output" 2>&1 || {
    tail -n 40 "$output"
    echo "failed: DURE_VULKAN_DISABLE=$1 $test"
    exit 1
  }
  rm -f "$output"
  echo "without $1: passed in $((SECONDS - began)) s"
}

run_without "$(IFS=,; echo "${features[*]}")"
if [ "${DURE_FULL:-0}" = 1 ]; then
  for feature in "${features[@]}"; do run_without "$feature"; done
fi
