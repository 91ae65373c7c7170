#!/bin/sh
# Four ranks on two hosts, supervised: a rank that dies, hangs or is cut off ends the others within 30 s, and the run
# goes on from its last complete checkpoint, on one host where the other is gone. Without --hosts: all ranks here.
#
#   DATA and RUN lie on a file system that all hosts see; ssh needs no password; dure has the same path everywhere.
set -eu
dure launch -n 4 --hosts "${HOSTS:-node1:2,node2:2}" --restart-on-failure 10 --min-ranks 2 -- \
  train --recipe examples/gpt2-1.3b.yaml --model examples/gpt2-1.3b.json --data "${DATA:?}" --out "${RUN:?}" --device auto
