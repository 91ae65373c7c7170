#!/usr/bin/env bash
# The Khronos validation layer, synchronization validation included, has nothing to say about the conformance suite.
#
# Two versions of the layer are used where they are there: Debian's own, and the newer one that comes with SwiftShader
# (scripts/fetch_swiftshader.sh), whose synchronization validation knows more hazards. Each sees another eighth of the
# cases; with DURE_FULL=1 all of them.
. "$(dirname "$0")/common.sh"
debian_manifest=/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json
newer_layer=$PWD/.cache/swiftshader/libVkLayer_khronos_validation.so
[ -e "$debian_manifest" ] || skip "vulkan-validationlayers is missing (scripts/install.sh installs it)"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# write_settings FOLDER OPTION...: the layer logs everything into FOLDER/log.
write_settings() {
  {
    echo "khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG"
    echo "khronos_validation.report_flags = error,warn,info"
    echo "khronos_validation.log_filename = $1/log"
    printf 'khronos_validation.%s\n' "${@:2}"
  } >"$1/vk_layer_settings.txt"
}

# The layer's messages about itself: that it is active, and its cache of shaders. Anything else counts.
count_messages() {
  grep -E '\((ERROR|WARN|INFO)|^Validation |VUID-|SYNC-' "$1/log" |
    grep -cvE 'createinstance-status-message|CURRENT-VALIDATION-ENABLED|cache-file-error|Validation Information: \[ WARNING-cache' || true
}

# run_validated NAME PART: the suite with the layer of NAME's settings.
run_validated() {
  local name=$1 test=$DURE_BUILD_DIR/tests/test_conformance_every_device messages
  export DURE_TEST_EVERY=8 DURE_TEST_PART=$2
  [ "${DURE_FULL:-0}" != 1 ] || DURE_TEST_EVERY=1
  export VK_LAYER_SETTINGS_PATH=$folder/$name VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
  export DURE_VULKAN_EXACT_BINDINGS=1
  rm -f "$folder/$name/log"
  "$test" >"$folder/output" 2>&1 || { tail -n 40 "$folder/output"; exit 1; }
  grep -qE 'Validation Layer Active|Current Validation Enabled' "$folder/$name/log" 2>/dev/null || {
    echo "the validation layer ($name) was not loaded into $(basename "$test")"
    exit 1
  }
  messages=$(count_messages "$folder/$name")
  echo "$(basename "$test") under the $name layer: $messages messages"
  if [ "$messages" != 0 ]; then head -c 6000 "$folder/$name/log"; exit 1; fi
}

ls "$DURE_BUILD_DIR"/tests/test_conformance_* >/dev/null 2>&1 || { echo "no conformance tests in $DURE_BUILD_DIR"; exit 1; }
mkdir "$folder/debian" "$folder/newer"
write_settings "$folder/debian" "enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT"
[ "${1:-}" = newer ] || run_validated debian 0
if [ -e "$newer_layer" ]; then
  sed "s|\"libVkLayer_khronos_validation.so\"|\"$newer_layer\"|" "$debian_manifest" >"$folder/newer/layer.json"
  write_settings "$folder/newer" "validate_sync = true" "syncval_full_validation = true"
  VK_LAYER_PATH=$folder/newer run_validated newer 1
fi
