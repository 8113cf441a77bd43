#!/bin/bash
# Links through a real Yggdrasil: two nodes that have no way to each other but through a third machine
# that runs Yggdrasil and nothing of ours.
#
#   ygg.sh [SCENARIO...]    root; all of them when none is named.   POSTRIDER=binary
#   SLACK=3                 so many times as long is still good: for a machine that does other things
#
# key    Yggdrasil runs under the nodes' keys: found by nothing but contacts' keys
# card   it runs under keys of its own: found by the address on a card
# gone   it stops at one end, then in the middle, and comes back
. "$(dirname "$0")/common.sh"
. "$here/net.sh"
needs_root
needs_namespaces
needs nft yggdrasil
find_postrider
# What a daemon finds is in its log.
LOUD=-v

# Yggdrasil makes an interface of its own where it runs.
make_space "probe$$"
in_space "probe$$" ip tuntap add mode tun name tun9 2>/dev/null || skip "no TUN interface is permitted here"
clear_net

declare -A yggs=()
# ygg_end: every Yggdrasil, before the namespaces go.
ygg_end() { local name; for name in "${!yggs[@]}"; do ygg_stop "$name" KILL; done; }
trap 'ygg_end; net_end' EXIT

# A secret and its public key in the hexadecimal that Yggdrasil reads: a node's.
node_key() {
  PYTHONPATH="$top/tests/decoder" python3 - "$W/$1/key" "$(P "$1" --json id | field key)" <<'END_PY'
import sys, bech32
line = next(line for line in open(sys.argv[1]) if line.startswith("node "))
print(bech32.decode("prsecret", line.split()[1], bech32.BECH32M, "key").hex() + " " + sys.argv[2])
END_PY
}
fresh_key() {
  yggdrasil -genconf -json | python3 -c 'import json, sys
it = json.load(sys.stdin)
secret = it["PrivateKey"]
print(secret[:64], it.get("PublicKey", secret[64:]))'
}
# ygg_setup NAME SECRET PUBLIC PEER...: versions up to 0.4 read both keys, later ones the secret.
ygg_setup() {
  local peers="" at
  for at in "${@:4}"; do peers+="${peers:+, }\"tcp://$at:9002\""; done
  cat >"$W/$1.ygg" <<END_CONF
{ "Peers": [$peers], "Listen": ["tcp://0.0.0.0:9002"], "MulticastInterfaces": [],
  "AdminListen": "tcp://127.0.0.1:9001", "IfName": "auto", "IfMTU": 65535,
  "PublicKey": "$3", "PrivateKey": "$2$3" }
END_CONF
  chmod 600 "$W/$1.ygg"
}
ygg_start() {
  ip netns exec "$(space "$1")" yggdrasil -useconffile "$W/$1.ygg" >>"$W/$1.ygg.log" 2>&1 &
  yggs[$1]=$!
}
ygg_stop() { # NAME [SIGNAL]
  kill "-${2:-TERM}" "${yggs[$1]}" 2>/dev/null
  wait "${yggs[$1]}" 2>/dev/null
  unset "yggs[$1]"
}
ygg_address() { yggdrasil -useconffile "$W/$1.ygg" -address; }
has_address() { in_space "$1" ip -6 -o addr show scope global | grep -qw "$2"; }

# a -- y -- b: y forwards nothing but what Yggdrasil carries through it.
middle() {
  node a b
  make_space y settled
  cable a y; address a y 10.0.1.1/24; address y a 10.0.1.2/24
  cable b y; address b y 10.0.2.1/24; address y b 10.0.2.2/24
  in_space y sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
  # One daemon meets local networks, and so listens on all addresses already; the other does not.
  setting b "lan = false"
  # Connections to oneself go over the loopback, whatever the address.
  local name
  for name in a b; do
    in_space "$name" nft -f - <<'END_NFT'
table ip6 self {
  counter begun { }
  chain out {
    type filter hook output priority 0;
    oifname "lo" ip6 daddr 200::/7 tcp flags & (syn | ack) == syn counter name begun
  }
}
END_NFT
  done
}
# Each end dials the middle, and the middle both: whichever comes back is found again at once.
ygg_middle() { ygg_setup y $(fresh_key) 10.0.1.1 10.0.2.1; }
dialled_itself() {
  in_space "$1" nft -j list counter ip6 self begun | grep -o '"packets": *[0-9]*' | grep -o '[0-9]*$'
}
no_route() { ! in_space a ping -c1 -W1 10.0.2.1 && ! in_space a ip route get 10.0.2.1; }

# overlaid NODE OTHER: has a link to somebody of that name, and every one is of this kind.
overlaid() {
  P "$1" --json peers | python3 -c '
import json, sys
links = [p for p in map(json.loads, sys.stdin) if p.get("up") and p["name"] == sys.argv[1]]
sys.exit(not links or not all(p["overlay"] for p in links))' "$2"
}
both_linked() { linked a b && linked b a; }
unlinked() { ! linked "$1" "$2"; }
# told NODE WHAT [DETAIL]: an event of this name happened, with these words.
told() { P "$1" --json log | grep -F "\"what\":\"$2\"" | grep -qF "${3:-}"; }
# How many events of a name there were.
times() { P "$1" --json log | grep -cF "\"what\":\"$2\""; }
again() { [ "$(times "$1" "$2")" -gt "$3" ]; }
# most WHAT BEGUN BOUND: the time since then in milliseconds, and whether that is soon enough.
most() {
  local took=$(( $(now_ms) - $2 ))
  echo "    $1: $took ms (at most $(($3 * ${SLACK:-1})))"
  check "$1" test "$took" -le $(($3 * ${SLACK:-1}))
}
# there_and_back WHAT FROM TO: delivered, with a receipt, once.
there_and_back() {
  local before
  before=$(P "$3" --json inbox | grep -c '"complete":true')
  check "$1: a message from $2, and its receipt" P "$2" send "$3" "$1, to $3" --wait delivered --timeout 30s
  check "$1: from $2 once" has "$3" $((before + 1))
}
never_itself() {
  local name
  for name in a b; do
    check "$1: $name dialled itself never" is "$(dialled_itself "$name")" 0
    # Were it dialled, that would have been seen.
    in_space "$name" bash -c ": </dev/tcp/$(ygg_address "$name")/7531" 2>/dev/null
    check "$1: a dial of $name's own is seen" is "$(dialled_itself "$name")" 1
  done
}

key() {
  local name begun
  middle
  # b's card leads to a: what it says of b must not bring a to dial itself.
  setting b "addresses = [\"ygg://[$(P a --json id | field address)]:7531\"]"
  know a b
  ygg_middle
  ygg_setup a $(node_key a) 10.0.1.2
  ygg_setup b $(node_key b) 10.0.2.2
  for name in a b; do
    check "key: $name's address is its key's" is "$(ygg_address $name)" "$(P $name --json id | field address)"
  done
  check "key: there is no other way" no_route
  for name in y a b; do ygg_start $name; done
  for name in a b; do within 20 has_address $name "$(ygg_address $name)"; done
  begun=$(now_ms)
  launch a; launch b
  check "key: a link by itself" within 60 both_linked
  most "key: from both starts to the link" "$begun" 8000
  for name in a b; do
    check "key: $name found its address" told $name overlay-up "under this node's key"
    check "key: $name asked Yggdrasil who it is" within 5 grep -q "yggdrasil runs" "$W/$name.log"
  done
  check "key: a's link is an overlay's" overlaid a b
  check "key: b's link is an overlay's" overlaid b a
  there_and_back "key" a b
  there_and_back "key" b a
  noise $((4 << 20)) "$W/film"
  id=$(P a send b -f "$W/film")
  arrives b "$id"; check "key: a file arrives" is $? 0
  check "key: whole" same b "$id" "$W/film"
  never_itself key
}

card() {
  local name begun
  middle
  ygg_middle
  ygg_setup a $(fresh_key) 10.0.1.2
  ygg_setup b $(fresh_key) 10.0.2.2
  setting b "addresses = [\"ygg://[$(ygg_address b)]:7531\"]"
  know a b
  for name in y a b; do ygg_start $name; done
  for name in a b; do within 20 has_address $name "$(ygg_address $name)"; done
  begun=$(now_ms)
  launch a; launch b
  check "card: a link by itself" within 60 both_linked
  most "card: from both starts to the link" "$begun" 8000
  for name in a b; do check "card: $name is told" told $name overlay-up "under another key"; done
  check "card: a's link is an overlay's" overlaid a b
  check "card: b's link is an overlay's" overlaid b a
  there_and_back "card" a b
  there_and_back "card" b a
  never_itself card
}

gone() {
  local name begun id ups
  middle; know a b
  ygg_middle
  ygg_setup a $(node_key a) 10.0.1.2
  ygg_setup b $(node_key b) 10.0.2.2
  # Daemons that were there first: they notice.
  start a; start b
  pause 1
  check "gone: nothing without it" unlinked a b
  begun=$(now_ms)
  for name in y a b; do ygg_start $name; done
  check "gone: a link when it comes" within 60 both_linked
  most "gone: from Yggdrasil's start to the link" "$begun" 12000

  begun=$(now_ms)
  ygg_stop b
  check "gone: b's link ends" within 30 unlinked b a
  most "gone: b's link ends after its Yggdrasil" "$begun" 5000
  check "gone: b is told" within 10 told b overlay-down
  most "gone: b is told after" "$begun" 5000
  check "gone: a's link ends" within 120 unlinked a b
  # Nobody tells a: unless something that was under way is refused, it is silence that ends its link.
  most "gone: a's link ends, whose Yggdrasil is there" "$begun" 75000
  id=$(P a send b "while it is gone")
  ups=$(times b overlay-up)
  begun=$(now_ms)
  ygg_start b
  arrives b "$id"
  most "gone: from its return to what was sent meanwhile" "$begun" 35000
  check "gone: b is told that it is back" again b overlay-up "$ups"
  check "gone: both linked again" within 30 both_linked

  ygg_stop y KILL
  pause 2
  id=$(P b send a "while the middle is gone")
  pause 1
  begun=$(now_ms)
  ygg_start y
  arrives a "$id"
  most "gone: from the middle's return to what was sent meanwhile" "$begun" 35000
  check "gone: an overlay's link again" overlaid a b
  check "gone: once" has a 1
  never_itself gone
}

[ $# -gt 0 ] || set -- key card gone
for scenario in "$@"; do
  case $scenario in key|card|gone) ;; *) echo "no scenario $scenario"; exit 2 ;; esac
  echo "== $scenario"
  "$scenario"
  ygg_end
  clear_net
done
finish
