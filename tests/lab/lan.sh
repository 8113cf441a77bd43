#!/bin/bash
# Live nodes on links that nobody configured: network namespaces, no addresses but those that the
# kernel makes, no route, no Internet.
#
#   lan.sh [BINARY]    root
#
# pair   two nodes and a cable: the first message
# line   three in a row, two of whom have no link: through the one between them
# cable  the cable is pulled for three seconds during a file, and plugged in again
. "$(dirname "$0")/common.sh"
needs_root
needs ip python3
find_postrider "${1:-}"
ip netns add "probe$$" 2>/dev/null || skip "network namespaces are not permitted here"
ip netns del "probe$$"
W=$(mktemp -d -t postrider-lan.XXXXXX)
spaces=() daemons=()
end() {
  local pid space
  for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${daemons[@]}"; do wait "$pid" 2>/dev/null; done
  for space in "${spaces[@]}"; do ip netns del "$space"; done
  rm -rf "$W"
}
trap end EXIT

now_ms() { echo $(( ${EPOCHREALTIME/./} / 1000 )); }
P() { "$POSTRIDER" -q --home "$W/$1" "${@:2}"; }
# A node in a namespace of its own, with the loopback that programs expect.
node() {
  local space="pr$$$1"
  P "$1" init --name "$1" >/dev/null
  ip netns add "$space"; spaces+=("$space")
  ip -n "$space" link set lo up
}
cable() { # A B: a cable between two nodes
  ip link add "c$1$2" netns "pr$$$1" type veth peer name "c$2$1" netns "pr$$$2"
  ip -n "pr$$$1" link set "c$1$2" up; ip -n "pr$$$2" link set "c$2$1" up
}
know() { P "$2" id --card - | P "$1" add - >/dev/null; P "$1" id --card - | P "$2" add - >/dev/null; }
start() {
  ip netns exec "pr$$$1" "$POSTRIDER" -q --home "$W/$1" daemon 2>"$W/$1.log" &
  daemons+=($!)
  local n
  for n in $(seq 300); do
    [ -S "$W/$1/socket" ] && return
    python3 -c 'import select; select.select([], [], [], 0.05)'
  done
}
# Until a message is in an inbox, or a minute is over.
arrives() { # NODE ID
  local n
  for n in $(seq 600); do
    P "$1" --json inbox 2>/dev/null | grep "\"id\":\"$2\"" | grep -q '"complete":true' && return 0
    python3 -c 'import select; select.select([], [], [], 0.1)'
  done
  tail -5 "$W"/*.log >&2
  return 1
}
once() { # NODE ID
  [ "$(P "$1" --json inbox | grep -c "\"id\":\"$2\"")" = 1 ]
}

for name in a b c; do node $name; done
know a b; know b c; know a c
cable a b
begun=$(now_ms)
start a; start b
id=$(P a send b "no addresses at all")
arrives b "$id"; check "pair: the first message arrives" is $? 0
echo "    after $(( $(now_ms) - begun )) ms, with the kernel's own 2 s for a new link"

cable b c
start c
id=$(P a send c "through the one between")
arrives c "$id"; check "line: who has no link is reached through another" is $? 0
once c "$id"; check "line: once" is $? 0

head -c 60000000 /dev/urandom >"$W/film"
mkdir "$W/out"
id=$(P a send b -f "$W/film")
ip -n "pr$$b" link set cba down
python3 -c 'import select; select.select([], [], [], 3)'
ip -n "pr$$b" link set cba up
arrives b "$id"; check "cable: a file goes on when the cable is back" is $? 0
once b "$id"; check "cable: once" is $? 0
P b inbox save "$id" "$W/out" >/dev/null && cmp -s "$W/film" "$W/out/film"
check "cable: it is whole" is $? 0
finish
