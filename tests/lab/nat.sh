#!/bin/bash
# Two hosts behind routers that translate addresses, and a plain node on port 443 that both can reach:
# in network namespaces, with nothing outside them.
#
#   nat.sh [SCENARIO...]    root, nftables; all of them when none is named.   POSTRIDER=binary
#
# pairs     easy/easy, easy/hard, hard/hard, only-443/easy: a message live, one stored; between two
#           easy ones the link becomes direct and nothing passes the broker any more
# upgrade   as the README tells it, and a file first: the direct link takes it over on the way
# killed    the broker is killed for DOWN=10 seconds in the middle of a file
# apart     the two are never up together
. "$(dirname "$0")/common.sh"
. "$here/net.sh"
needs_root
needs_namespaces
needs_nat
find_postrider
broker=203.0.113.1
peer_uri="tls://$broker:443#broker"

# internet KIND-OF-A KIND-OF-B: alice - r - net - s - bob, and the broker on the net.
internet() {
  switch net
  node alice bob broker
  attach broker net; address broker net "$broker/24"
  router r net 203.0.113.11 "$1" alice 1
  router s net 203.0.113.12 "$2" bob 2
  know alice bob
  P broker id --card - >"$W/card"
  P alice add "$W/card" >/dev/null; P bob add "$W/card" >/dev/null
  setting broker 'listen = ["tls://0.0.0.0:443"]' 'lan = false'
  setting alice 'lan = false'; setting bob 'lan = false'
}
up() { for name in "$@"; do launch "$name" $([ "$name" = broker ] || echo --peer "$peer_uri"); done; }
both_linked() { linked alice broker && linked bob broker; }

pairs() {
  local kinds begun id before after name
  for kinds in "easy easy" "easy hard" "hard hard" "443 easy"; do
    internet $kinds
    up broker alice bob
    check "$kinds: both reach the broker" within 30 both_linked
    begun=$(now_ms)
    id=$(P alice send bob "live")
    arrives bob "$id"; check "$kinds: a message arrives at once" is $? 0
    echo "    after $(( $(now_ms) - begun )) ms"
    if [ "$kinds" = "easy easy" ]; then
      within 10 linked alice bob; check "$kinds: the link becomes direct" is $? 0
      echo "    $(( $(now_ms) - begun )) ms after the first message was sent"
      noise 30000000 "$W/film"
      before=$(bytes_on broker net)
      id=$(P alice send bob -f "$W/film")
      arrives bob "$id"; check "$kinds: a file arrives" is $? 0
      after=$(bytes_on broker net)
      echo "    $((after - before)) of its 30000000 bytes were seen at the broker"
      check "$kinds: not through the broker" test $((after - before)) -lt 1000000
      check "$kinds: it is whole" same bob "$id" "$W/film"
    fi
    stop bob
    id=$(P alice send bob "stored")
    check "$kinds: the broker has one for later" within 20 carried alice "$id"
    stop alice
    begun=$(now_ms)
    up bob
    arrives bob "$id"; check "$kinds: a message waits at the broker" is $? 0
    echo "    $(( $(now_ms) - begun )) ms after the start"
    check "$kinds: nothing twice" has bob "$([ "$kinds" = "easy easy" ] && echo 3 || echo 2)"
    clear_net
  done
}

upgrade() {
  local name id begun before
  internet easy easy
  in_space alice tc qdisc add dev to-r root tbf rate 80mbit burst 64kb latency 50ms
  for name in broker alice bob; do in_space "$name" "$POSTRIDER" -q --home "$W/$name" up; done
  P alice link add "$peer_uri"; P bob link add "$peer_uri"
  check "upgrade: both reach the broker" within 30 both_linked
  noise 60000000 "$W/film"
  begun=$(now_ms)
  id=$(P alice send bob -f "$W/film")
  within 10 linked alice bob
  echo "    a direct link $(( $(now_ms) - begun )) ms after the file was sent"
  check "upgrade: within two seconds" test $(( $(now_ms) - begun )) -le $((2000 * ${SLACK:-1}))
  pause 1
  check "upgrade: in the middle" test "$(P bob --json inbox | grep -c '"complete":true')" = 0
  before=$(bytes_on broker net)
  arrives bob "$id"; check "upgrade: the file arrives" is $? 0
  echo "    $(( $(now_ms) - begun )) ms, and $(( $(bytes_on broker net) - before )) bytes at the broker after the first second"
  check "upgrade: not through the broker" test $(( $(bytes_on broker net) - before )) -lt 1000000
  check "upgrade: it is whole" same bob "$id" "$W/film"
  check "upgrade: once" has bob 1
  check "upgrade: the receipt comes" within 20 delivered alice "$id"
  for name in broker alice bob; do P "$name" down; done
}

killed() {
  local id down=${DOWN:-10}
  internet hard hard
  in_space alice tc qdisc add dev to-r root tbf rate 80mbit burst 64kb latency 50ms
  up broker alice bob
  check "killed: both reach the broker" within 30 both_linked
  noise 60000000 "$W/film"
  id=$(P alice send bob -f "$W/film")
  pause 3
  stop broker KILL
  check "killed: in the middle" test "$(P bob --json inbox | grep -c '"complete":true')" = 0
  pause "$down"
  local begun
  begun=$(now_ms)
  up broker
  arrives bob "$id" 120; check "killed: the file arrives when the broker is back" is $? 0
  echo "    $(( $(now_ms) - begun )) ms after the broker's start"
  check "killed: whole" same bob "$id" "$W/film"
  check "killed: once" has bob 1
}

apart() {
  local id
  internet hard hard
  up broker alice
  within 30 linked alice broker
  id=$(P alice send bob "you will not see me")
  check "apart: the broker has it" within 20 carried alice "$id"
  stop alice
  up bob
  arrives bob "$id"; check "apart: it arrives when the sender has gone" is $? 0
  check "apart: once" has bob 1
  stop bob
  up alice
  check "apart: and so does the receipt" within 30 delivered alice "$id"
}
carried() { P "$1" trace "$2" 2>/dev/null | grep -q broker; }
delivered() { P "$1" trace "$2" 2>/dev/null | grep -q delivered; }

[ $# -gt 0 ] || set -- pairs upgrade killed apart
for scenario in "$@"; do
  echo "== $scenario"
  "$scenario"
  clear_net
done
finish
