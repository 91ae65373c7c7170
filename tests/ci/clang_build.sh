#!/usr/bin/env bash
# Everything compiles with clang, warnings being errors. Nothing of it is run, so that nothing is optimised.
. "$(dirname "$0")/common.sh"
require clang
build_preset clang -DCMAKE_BUILD_TYPE=Debug
