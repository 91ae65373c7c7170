#!/usr/bin/env bash
# Every C, header and CUDA file is as clang-format writes it, and every shell script passes shellcheck where there is one.
. "$(dirname "$0")/common.sh"
require clang-format
scripts/format.sh --check
if command -v shellcheck >/dev/null; then shellcheck -x -P SCRIPTDIR -S warning scripts/*.sh tests/ci/*.sh .ci/run; fi
