#!/bin/sh
# Fuzzes the readers of files: ./tests/fuzz/run.sh [-n EXECUTIONS] [-t SECONDS] [TARGET...]
#
# Builds build-fuzz with clang, AddressSanitizer and UndefinedBehaviorSanitizer, and runs each target (all: the C files of
# this folder) until it has made EXECUTIONS (10 million) or SECONDS (no limit) are over, or it found something. A line a
# target goes to standard output: executions, edges and features covered, corpus, seconds, result. What was found lies in
# build-fuzz/findings, the grown corpus in build-fuzz/corpus, logs in build-fuzz/logs. Status: 1 when anything was found.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=${DURE_FUZZ_BUILD:-$source/build-fuzz}
executions=10000000
seconds=0
while getopts n:t:h option; do
  case $option in
    n) executions=$OPTARG ;;
    t) seconds=$OPTARG ;;
    h) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [ $# -eq 0 ]; then
  for file in "$source"/tests/fuzz/*.c; do
    name=$(basename "$file" .c)
    [ "$name" = replay_main ] || set -- "$@" "$name"
  done
fi

clang=$(command -v clang || command -v clang-14) || { echo "run.sh: clang is needed: apt install clang" >&2; exit 1; }
cmake -G Ninja -S "$source" -B "$build" -DCMAKE_C_COMPILER="$clang" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDURE_FUZZ=ON \
  -DDURE_SANITIZE=address,undefined -DDURE_CUDA=OFF >&2
for name in "$@"; do targets="${targets:-} fuzz_$name"; done
# shellcheck disable=SC2086 # a list
ninja -C "$build" $targets >&2

# Cheaper executions; what is found is run again by hand with stacks.
export ASAN_OPTIONS="malloc_context_size=0:quarantine_size_mb=8${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
result=0
mkdir -p "$build/findings" "$build/logs"
echo '| target | executions | edges | features | corpus | seconds | result |'
echo '| --- | --- | --- | --- | --- | --- | --- |'
for name in "$@"; do
  mkdir -p "$build/corpus/$name"
  # Fixtures of other tests are seeds too.
  case $name in
    model_config) for file in "$source"/tests/golden/*/*/config.json; do
      cp "$file" "$build/corpus/$name/$(basename "$(dirname "$file")").json"
    done ;;
  esac
  log=$build/logs/$name.log
  verdict=clean
  "$build/tests/fuzz/fuzz_$name" -runs="$executions" -max_total_time="$seconds" -max_len=4096 -timeout=25 -seed=1 \
    -artifact_prefix="$build/findings/$name-" -print_final_stats=1 "$build/corpus/$name" \
    "$source/tests/fuzz/seeds/$name" >"$log" 2>&1 || { verdict="**found**, see $log"; result=1; }
  awk -v name="$name" -v verdict="$verdict" '
    / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") edges = $(i + 1); if ($i == "ft:") features = $(i + 1);
                                          if ($i == "corp:") corpus = $(i + 1) } }
    /number_of_executed_units/ { made = $2 }
    /^Done / { seconds = $5 }
    END { print "| " name " | " made " | " edges " | " features " | " corpus " | " seconds " | " verdict " |" }' "$log"
done
exit $result
