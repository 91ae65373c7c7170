# shellcheck shell=bash
# Functions over Debian packages, sourced by the other scripts. Not a program.
#
#   install_packages NAME...              installs what is missing; needs root or sudo only if something is
#   download_package NAME FOLDER          fetches NAME_*.deb into FOLDER; needs no root
#   say TEXT                              progress, on standard error
#   stop TEXT                             explains on standard error and ends the script with status 1

say() { printf '%s\n' "$*" >&2; }
stop() {
  say "$(basename "$0"): $*"
  exit 1
}

require_apt() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    stop "apt-get is missing. These scripts know Debian 12 and its relatives; elsewhere, install by hand: $*"
  fi
}

missing_packages() {
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s ' "$name"
  done
}

# Prints the command prefix that gives root's rights: nothing for root, sudo for others.
root_prefix() {
  if [ "$(id -u)" = 0 ]; then
    return 0
  elif command -v sudo >/dev/null; then
    echo sudo
  else
    return 1
  fi
}

install_packages() {
  local missing prefix log
  require_apt "$@"
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then return 0; fi
  prefix=$(root_prefix) || stop "needs root to install packages and finds no sudo. As root, run:
  apt-get install --no-install-recommends $missing"
  say "Installing from Debian: $missing"
  log=$(mktemp)
  # shellcheck disable=SC2086  # lists of words on purpose
  if ! { $prefix env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    $prefix env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    stop "could not install: $missing
Is there a network, and does /etc/apt name a Debian mirror?"
  fi
  rm -f "$log"
}

# apt-get download, first with the system's package lists; when those are missing or stale, with private ones beside
# FOLDER, which need no root to refresh.
download_package() {
  local name=$1 folder=$2 private
  require_apt "$name"
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  if (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$name") >/dev/null 2>&1; then return 0; fi
  private=$folder/.apt
  mkdir -p "$private/lists/partial" "$private/cache/archives/partial"
  local options=(-qq -o "Dir::State::lists=$private/lists" -o "Dir::Cache=$private/cache" -o Debug::NoLocking=1
    -o APT::Sandbox::User=root)
  if ! { compgen -G "$private/lists/*Packages*" || apt-get "${options[@]}" update; } >"$private/log" 2>&1 ||
    ! (cd "$folder" && apt-get "${options[@]}" download "$name") >>"$private/log" 2>&1; then
    tail -n 5 "$private/log" >&2
    return 1
  fi
}
