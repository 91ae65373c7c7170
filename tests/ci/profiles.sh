#!/usr/bin/env bash
# The conformance suite under each profile of runtime/vulkan/profiles.def: other devices' limits imposed on the software
# driver that is here. Nothing fails, and nothing is unsupported that the device supports without a profile. With
# DURE_FULL=1 on every Vulkan device, larger shapes included.
. "$(dirname "$0")/common.sh"
mapfile -t profiles < <(sed -n 's/^DURE_VULKAN_PROFILE("\([a-z0-9]*\)".*/\1/p' runtime/vulkan/profiles.def)
[ "${#profiles[@]}" -ge 5 ] || { echo "runtime/vulkan/profiles.def lists no profiles"; exit 1; }
mapfile -t devices < <("$DURE_PROGRAM" devices | sed -n 's/^\(vulkan:[0-9]*\) .*/\1/p')
[ "${#devices[@]}" -gt 0 ] || skip "there is no Vulkan device"
options=()
if [ "${DURE_FULL:-0}" = 1 ]; then options+=(--full); else devices=("${devices[0]}"); fi

# suite PROFILE DEVICE: prints how many cases are unsupported.
suite() {
  local output
  output=$(mktemp)
  DURE_VULKAN_PROFILE=$1 "$DURE_PROGRAM" selftest --device "$2" "${options[@]}" >"$output" 2>&1 || {
    grep -v '^unsupported' "$output" | tail -n 40
    echo "failed: DURE_VULKAN_PROFILE=$1 dure selftest --device $2 ${options[*]}"
    exit 1
  }
  sed -n 's/.* skipped, \([0-9]*\) unsupported.*/\1/p' "$output"
  rm -f "$output"
}

for device in "${devices[@]}"; do
  without=$(suite "" "$device")
  for profile in "${profiles[@]}"; do
    began=$SECONDS
    unsupported=$(suite "$profile" "$device")
    if [ "$unsupported" -ne "$without" ]; then
      echo "$profile on $device: $unsupported cases are unsupported, without a profile $without"
      exit 1
    fi
    echo "$profile on $device: passed in $((SECONDS - began)) s"
  done
done
