#!/usr/bin/env bash
# How much of communication hides behind computing, for two ranks on hosts of their own (network namespaces) with a
# shaped link between them: tests/bench/overlap.c, its figures, and its timeline as a picture.
#
#   overlap.sh BUILD OUT [RATE [LAYERS [MEBIBYTES [REPEATS]]]]     1gbit 8 4 9
#
# Needs root, iproute2 and two cores: each rank's process is kept on one, which computes (software Vulkan, one thread)
# and moves bytes too; a network card and a GPU would take less of it. DEVICE and KIND as in overlap.c: vulkan:0, staged.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${1:?the build folder}") out=${2:?a folder for the timeline} rate=${3:-1gbit}
export DURE_HOSTS=${DURE_HOSTS:-overlap} DURE_TRACE_SPANS=1
mkdir -p "$out"
out=$(realpath "$out")
rm -f "$out"/trace.json*
trap '"$here/network_hosts.sh" down' EXIT
"$here/network_hosts.sh" up 2 "$rate"
cat >"$out/rank.sh" <<EOF
#!/bin/sh
export DURE_TRACE='$out/trace.json' DURE_TRACE_SPANS=1 LP_NUM_THREADS=1
exec taskset -c \$((RANK % $(nproc))) '$build/dure_overlap' "\$@"
EOF
chmod +x "$out/rank.sh"
"$build/dure" launch -n 2 --hosts "$DURE_HOSTS-host-1,$DURE_HOSTS-host-2" --remote-shell "ip netns exec" \
  --program "$out/rank.sh" -- "${DEVICE:-vulkan:0}" "${KIND:-staged}" "${4:-8}" "${5:-4}" "${6:-9}" | tee "$out/figures.md"
python3 "$here/timeline.py" "$out/timeline.svg" "$out/trace.json.0" "$out/trace.json.1"
