#!/bin/sh
# Ranks by four variables of the environment, as torchrun sets them. By torchrun itself, on each node:
#
#   torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint node1:29500 --no-python \
#     dure train ...
#
# By hand, as here: this script on each node, with NODE=0 or 1 and MASTER_ADDR naming node 0.
set -eu
per_node=4 nodes=2
export WORLD_SIZE=$((per_node * nodes)) MASTER_ADDR="${MASTER_ADDR:?}" MASTER_PORT="${MASTER_PORT:-29500}"
local=0
while [ $local -lt $per_node ]; do
  RANK=$((${NODE:?} * per_node + local)) LOCAL_RANK=$local \
    dure train --recipe examples/gpt2-1.3b.yaml --model examples/gpt2-1.3b.json --data "${DATA:?}" --out "${RUN:?}" &
  local=$((local + 1))
done
wait
