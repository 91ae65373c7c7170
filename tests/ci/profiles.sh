#!/usr/bin/env bash
# The conformance suite under each profile of runtime/vulkan/profiles.def: other devices' limits imposed on the software
# driver that is here. Nothing fails, and nothing is unsupported. A sixteenth of the cases each, another one under each
# profile; with DURE_FULL=1 all of them on every Vulkan device, larger shapes included.
. "$(dirname "$0")/common.sh"
mapfile -t profiles < <(sed -n 's/^DURE_VULKAN_PROFILE("\([a-z0-9]*\)".*/\1/p' runtime/vulkan/profiles.def)
[ "${#profiles[@]}" -ge 5 ] || { echo "runtime/vulkan/profiles.def lists no profiles"; exit 1; }
mapfile -t devices < <("$DURE_PROGRAM" devices | sed -n 's/^\(vulkan:[0-9]*\) .*/\1/p')
[ "${#devices[@]}" -gt 0 ] || skip "there is no Vulkan device"
[ "${DURE_FULL:-0}" = 1 ] || devices=("${devices[0]}")

for device in "${devices[@]}"; do
  for i in "${!profiles[@]}"; do
    began=$SECONDS output=$(mktemp)
    options=(--every 16 --part $((i % 16)))
    [ "${DURE_FULL:-0}" != 1 ] || options=(--full)
    passes=1
    DURE_VULKAN_PROFILE=${profiles[i]} "$DURE_PROGRAM" selftest --device "$device" "${options[@]}" >"$output" 2>&1 || passes=0
    if [ $passes = 0 ] || ! grep -q ' 0 failed, .* 0 unsupported' "$output"; then
      tail -n 40 "$output"
      echo "failed: DURE_VULKAN_PROFILE=${profiles[i]} dure selftest --device $device ${options[*]}"
      exit 1
    fi
    echo "${profiles[i]} on $device: $(sed -n 's/ passed.*//p' "$output") cases passed in $((SECONDS - began)) s"
    rm -f "$output"
  done
done
