#!/usr/bin/env bash
# Everything compiles with clang, warnings being errors.
. "$(dirname "$0")/common.sh"
require clang
build_preset clang
