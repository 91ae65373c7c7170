#!/usr/bin/env bash
# Gets real Korean and English text (HTML and Mallard XML, about 27 MB of packages, once) from Debian's documentation
# packages without installing them, and prints one folder a language: .cache/text/ko and .cache/text/en.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

folder=$PWD/.cache/text
packages=(installation-guide-amd64 gnome-user-docs debian-faq debian-faq-ko)

if [ ! -e "$folder/complete" ]; then
  rm -rf "$folder"
  mkdir -p "$folder/download" "$folder/unpacked" "$folder/ko" "$folder/en"
  for package in "${packages[@]}"; do
    say "Downloading text (Debian package $package)"
    download_package "$package" "$folder/download" || stop "cannot download $package. Is there a network?"
    dpkg -x "$folder"/download/"$package"_*.deb "$folder/unpacked"
  done
  documents=$folder/unpacked/usr/share/doc
  help=$folder/unpacked/usr/share/help
  for language in ko en; do
    source_language=$([ $language = en ] && echo C || echo ko)
    for part in installation-guide debian-faq gnome-help system-admin-guide; do mkdir -p "$folder/$language/$part"; done
    cp "$documents/installation-guide-amd64/$language"/*.html "$folder/$language/installation-guide"
    cp "$help/$source_language/gnome-help"/*.page "$folder/$language/gnome-help"
    cp "$help/$source_language/system-admin-guide"/*.page "$folder/$language/system-admin-guide"
  done
  cp "$documents/debian/FAQ/ko"/*.html "$folder/ko/debian-faq"
  cp "$documents/debian/FAQ"/*.en.html "$folder/en/debian-faq"
  rm -rf "$folder/download" "$folder/unpacked"
  touch "$folder/complete"
fi
echo "$folder/ko"
echo "$folder/en"
