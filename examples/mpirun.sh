#!/bin/sh
# Eight ranks under Open MPI; the hosts are named as for any program of MPI. Needs libdure_mpi.so beside dure (it is
# built where libopenmpi-dev is installed). Open MPI ends all ranks when one is killed: to begin again by itself, let
# dure launch start mpirun: dure launch --with mpirun -n 8 --hostfile hosts --restart-on-failure 10 -- train ...
set -eu
mpirun -n 8 --hostfile "${HOSTFILE:?}" --map-by ppr:4:node --bind-to none \
  -x PATH -x LD_LIBRARY_PATH \
  dure train --recipe examples/gpt2-1.3b.yaml --model examples/gpt2-1.3b.json --data "${DATA:?}" --out "${RUN:?}"
