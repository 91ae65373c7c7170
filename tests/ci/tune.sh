#!/usr/bin/env bash
# dure tune on the first Vulkan device: it ends, keeps a file, and matmul passes the suite with the choices it made; and
# driven like a GPU, attention does. A software driver compiles every variant for it, which takes minutes: only with DURE_FULL=1.
. "$(dirname "$0")/common.sh"
[ "${DURE_FULL:-0}" = 1 ] || skip "dure tune takes minutes on software drivers; DURE_FULL=1 runs it"
grep -q '^vulkan:0 ' <<<"$("$DURE_PROGRAM" devices)" || skip "there is no Vulkan device"
XDG_CACHE_HOME=$(mktemp -d)
export XDG_CACHE_HOME
trap 'rm -rf "$XDG_CACHE_HOME"' EXIT
"$DURE_PROGRAM" tune --device vulkan:0
ls "$XDG_CACHE_HOME"/dure/tuning-*.json >/dev/null
grep -q 'measured by dure tune' <<<"$("$DURE_PROGRAM" devices)"
"$DURE_PROGRAM" selftest --device vulkan:0 --op matmul 2>&1 | tail -n 3
export DURE_VULKAN_PROFILE=rtx4060
"$DURE_PROGRAM" tune --device vulkan:0
"$DURE_PROGRAM" selftest --device vulkan:0 --op attention 2>&1 | tail -n 3
