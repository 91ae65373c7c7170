#!/bin/sh
# Fuzzes the readers of files: ./tests/fuzz/run.sh [-n EXECUTIONS] [-t SECONDS] [-s SEED] [-m SHORT] [-l] [TARGET...]
#
# Builds build-fuzz (or $DURE_FUZZ_BUILD, as it was configured) with clang, AddressSanitizer and UndefinedBehaviorSanitizer,
# and runs each target (all: the C files of this folder) until it has made EXECUTIONS (10 million) or SECONDS (no limit) a
# run are over, or it found something: 63 of 64 with inputs to SHORT bytes (256), which are quick, the rest with inputs to
# 4096; then the grown corpus once more with leaks looked for. A line a run goes to standard output, and with -l behind
# tests/fuzz/logs/TARGET.txt too: what has been run is the sum of a file's lines. What was found lies in build-fuzz/findings,
# the grown corpus in build-fuzz/corpus, logs in build-fuzz/logs. Status: 1 when anything was found.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=${DURE_FUZZ_BUILD:-$source/build-fuzz}
executions=10000000
seconds=0
seed=1
short=256
keep=false
while getopts n:t:s:m:lh option; do
  case $option in
    n) executions=$OPTARG ;;
    t) seconds=$OPTARG ;;
    s) seed=$OPTARG ;;
    m) short=$OPTARG ;;
    l) keep=true ;;
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
[ -e "$build/build.ninja" ] || cmake -G Ninja -S "$source" -B "$build" -DCMAKE_C_COMPILER="$clang" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDURE_FUZZ=ON \
  -DDURE_SANITIZE=address,undefined -DDURE_CUDA=OFF >&2
for name in "$@"; do targets="${targets:-} fuzz_$name"; done
# shellcheck disable=SC2086 # a list
ninja -C "$build" $targets >&2

# Cheaper executions; what is found is run again by hand with stacks.
export ASAN_OPTIONS="malloc_context_size=0:quarantine_size_mb=4${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
result=0
mkdir -p "$build/findings" "$build/logs"

# line NAME LOG WHAT VERDICT: the final figures of one run.
line() {
  awk -v name="$1" -v what="$3" -v verdict="$4" '
    / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") edges = $(i + 1); if ($i == "ft:") features = $(i + 1);
                                          if ($i == "corp:") { corpus = $(i + 1); sub("/.*", "", corpus) } } }
    /number_of_executed_units/ { made = $2 }
    /^Done / { seconds = $5 }
    END { print "| " name " | " what " | " made " | " edges " | " features " | " corpus " | " seconds " | " verdict " |" }' "$2"
}

# fuzz NAME EXECUTIONS LENGTH LEAKS: one run of a target over its corpus and seeds.
fuzz() {
  log=$build/logs/$1-$3-$4.log
  what="inputs to $3 bytes, seed $seed"
  [ "$2" != 0 ] || what="the corpus again, leaks looked for"
  verdict=clean
  "$build/tests/fuzz/fuzz_$1" -runs="$2" -max_total_time="$seconds" -max_len="$3" -detect_leaks="$4" -timeout=25 -seed="$seed" \
    -artifact_prefix="$build/findings/$1-" -print_final_stats=1 "$build/corpus/$1" "$source/tests/fuzz/seeds/$1" \
    >"$log" 2>&1 || { verdict="**found**, see $log"; result=1; }
  text=$(line "$1" "$log" "$what" "$verdict")
  echo "$text"
  if $keep; then
    [ -e "$logs/$1.txt" ] || printf '%s\n%s\n' "$heading" "$rule" >"$logs/$1.txt"
    echo "$text" >>"$logs/$1.txt"
  fi
}

logs=$source/tests/fuzz/logs
heading='| target | run | executions | edges | features | corpus | seconds | result |'
rule='| --- | --- | --- | --- | --- | --- | --- | --- |'
printf '%s\n%s\n' "$heading" "$rule"
for name in "$@"; do
  mkdir -p "$build/corpus/$name" "$logs"
  # Fixtures of other tests are seeds too.
  case $name in
    model_config) for file in "$source"/tests/golden/*/*/config.json; do
      cp "$file" "$build/corpus/$name/$(basename "$(dirname "$file")").json"
    done ;;
  esac
  fuzz "$name" $((executions - executions / 64)) "$short" 0
  fuzz "$name" $((executions / 64)) 4096 0
  fuzz "$name" 0 4096 1
done
exit $result
