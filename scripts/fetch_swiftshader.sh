#!/usr/bin/env bash
# Gets SwiftShader, a second software Vulkan driver, out of Debian's Chromium package (about 32 MB, once) without
# installing anything, and prints the path of its driver manifest, for VK_ADD_DRIVER_FILES or VK_DRIVER_FILES:
#
#   VK_DRIVER_FILES=$(scripts/fetch_swiftshader.sh) build/dure devices
#
# The same package carries a newer validation layer than Debian's own; it is kept beside the driver.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

folder=$PWD/.cache/swiftshader
manifest=$folder/icd.json
driver=$folder/libvk_swiftshader.so
layer=$folder/libVkLayer_khronos_validation.so

if [ ! -s "$driver" ]; then
  mkdir -p "$folder/download"
  trap 'rm -rf "$folder/download"' EXIT
  found=
  for package in chromium-common chromium; do  # which of the two holds it has changed over the years
    say "Downloading SwiftShader (Debian package $package)"
    download_package "$package" "$folder/download" ||
      stop "cannot download $package. Is there a network? Without SwiftShader everything still works on other drivers."
    archive=$(ls "$folder"/download/"$package"_*.deb)
    if dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$folder/download" --wildcards --no-anchored \
      'libvk_swiftshader.so' 'libVkLayer_khronos_validation.so' 2>/dev/null ||
      [ -n "$(find "$folder/download" -name libvk_swiftshader.so)" ]; then
      found=$(find "$folder/download" -name libvk_swiftshader.so)
      break
    fi
  done
  [ -n "$found" ] || stop "the Chromium packages of this Debian release do not carry libvk_swiftshader.so"
  find "$folder/download" -name libVkLayer_khronos_validation.so -exec mv {} "$layer" \;
  mv "$found" "$driver"
fi

# Written every time: the paths are absolute, and a clone may have been moved.
printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' "$driver" >"$manifest"
echo "$manifest"
