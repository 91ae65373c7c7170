#!/usr/bin/env bash
# Hosts on one machine: network namespaces with addresses of their own, joined by a switch, their links shaped.
#
#   network_hosts.sh up COUNT [RATE] [DELAY]   dure-host-1 ... (10.77.0.1 ...), each link RATE (1gbit) and DELAY (0ms)
#   network_hosts.sh cut N | mend N            takes host N's link down, and up again
#   network_hosts.sh down                      removes all of them
#
# DURE_HOSTS=other: names begin with that instead of "dure", so that two sets can be at once.
# Needs root, iproute2 and a kernel with veth. A command on a host: ip netns exec dure-host-1 COMMAND. So that launches:
#
#   network_hosts.sh up 2
#   dure launch -n 2 --hosts dure-host-1,dure-host-2 --remote-shell "ip netns exec" -- train ...
set -euo pipefail

prefix=${DURE_HOSTS:-dure}
switch=$prefix-switch

down() {
  local name
  for name in $(ip netns list | awk -v all="^$prefix-(host-[0-9]+|switch)\$" '$1 ~ all { print $1 }'); do
    ip netns delete "$name"
    rm -rf "/etc/netns/$name"
  done
  rmdir /etc/netns 2>/dev/null || true
}

# shape NAMESPACE DEVICE: what leaves by this device.
shape() {
  if [ "$delay" = 0ms ]; then
    ip netns exec "$1" tc qdisc add dev "$2" root tbf rate "$rate" burst 256kb latency 50ms
  else
    ip netns exec "$1" tc qdisc add dev "$2" root netem rate "$rate" delay "$delay"
  fi
}

up() {
  local count=$1 i host
  ip netns add "$switch"
  ip -n "$switch" link add bridge type bridge
  ip -n "$switch" link set bridge up
  for i in $(seq "$count"); do
    host=$prefix-host-$i
    ip netns add "$host"
    mkdir -p "/etc/netns/$host"
    { echo "127.0.0.1 localhost"; for j in $(seq "$count"); do echo "10.77.0.$j $prefix-host-$j"; done; } >"/etc/netns/$host/hosts"
    ip -n "$host" link add eth0 type veth peer name "port$i" netns "$switch"
    ip -n "$host" addr add "10.77.0.$i/24" dev eth0
    ip -n "$host" link set lo up
    ip -n "$host" link set eth0 up
    ip -n "$switch" link set "port$i" master bridge
    ip -n "$switch" link set "port$i" up
    shape "$host" eth0
    shape "$switch" "port$i"
  done
}

command=${1:-}
case "$command" in
  up)
    rate=${3:-1gbit} delay=${4:-0ms}
    down
    up "${2:?how many hosts}"
    ;;
  cut) ip -n "$switch" link set "port${2:?which host}" down ;;
  mend) ip -n "$switch" link set "port${2:?which host}" up ;;
  down) down ;;
  *)
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
