#!/bin/bash
# Transfers that go on where they were cut: a node that moves, a cable that is pulled again and again.
#
#   wander.sh [SCENARIO...]    root; all of them when none is named.   POSTRIDER=binary
#
# move   a node is taken from one switch to another in the middle of a file of MIB=60
# cuts   CUTS=20 cuts during a file of MIB=60; CUTS=100 MIB=200 is the whole of it
. "$(dirname "$0")/common.sh"
. "$here/net.sh"
needs_root
needs_namespaces
find_postrider
# Links tell what went over them when they end.
LOUD=-v

# Bytes of units that came to a node over links to whomever, those that ended and those that are up.
received() {
  P "$1" --json peers >"$W/peers"
  python3 - "$W/peers" "$W/$1.log" <<'END'
import json, re, sys
up = [p for p in map(json.loads, open(sys.argv[1])) if p.get("up")]
ended = re.findall(r"the bytes of a link that ended.*received=(\d+)", open(sys.argv[2]).read())
print(sum(p["received_bytes"] for p in up) + sum(map(int, ended)))
END
}
# twice NODE FILE: what came to it beyond the file, in bytes.
twice() { echo $(( $(received "$1") - $(stat -c %s "$2") )); }
slow() { in_space "$1" tc qdisc add dev "to-$2" root tbf rate "${RATE:-100mbit}" burst 64kb latency 50ms; }

move() {
  local mib=${MIB:-60} id begun over
  node a b; know a b
  switch s; switch t
  attach a s; attach a t; attach b s
  slow a s; slow a t
  noise $((mib << 20)) "$W/film"
  launch a; launch b
  check "move: linked" within 30 linked a b
  id=$(P a send b -f "$W/film")
  pause 2
  unwire b s
  check "move: in the middle" test "$(P b --json inbox | grep -c '"complete":true')" = 0
  pause 0.5
  attach b t
  begun=$(now_ms)
  within 20 linked b a
  echo "    a link again after $(( $(now_ms) - begun )) ms"
  check "move: within two seconds" test $(( $(now_ms) - begun )) -le $((2000 * ${SLACK:-1}))
  arrives b "$id" 120; check "move: the file arrives" is $? 0
  over=$(twice b "$W/film")
  echo "    $over bytes more than the file came to b"
  # A chunk, and what the parts and offers need beside their bytes.
  check "move: no more than a chunk came twice" test "$over" -le $((262144 + 65536))
  check "move: whole" same b "$id" "$W/film"
  check "move: once" has b 1
}

cuts() {
  local mib=${MIB:-60} cuts=${CUTS:-20} n id over done=0 begun
  # So that the file outlasts its cuts.
  local RATE=${RATE:-50mbit}
  node a b; know a b; cable a b
  slow a b
  noise $((mib << 20)) "$W/film"
  launch a; launch b
  check "cuts: linked" within 30 linked a b
  id=$(P a send b -f "$W/film")
  begun=$(now_ms)
  for n in $(seq "$cuts"); do
    within 20 linked b a || break
    pause "0.0$((RANDOM % 9 + 1))"
    is_in b "$id" && break
    pull b a
    pause "0.$((RANDOM % 3 + 1))"
    plug b a
    done=$n
  done
  check "cuts: the file outlasted $cuts of them" is "$done" "$cuts"
  arrives b "$id" 300; check "cuts: the file arrives" is $? 0
  echo "    $done cuts, $(( $(now_ms) - begun )) ms in all"
  over=$(twice b "$W/film")
  echo "    $over bytes more than the file came to b: $((over * 1000 / (mib << 20))) thousandths"
  check "cuts: at most 2 % came twice" test "$over" -le $(( (mib << 20) / 50 ))
  check "cuts: whole" same b "$id" "$W/film"
  check "cuts: once" has b 1
}

[ $# -gt 0 ] || set -- move cuts
for scenario in "$@"; do
  echo "== $scenario"
  "$scenario"
  clear_net
done
finish
