#!/bin/bash
# Many live nodes without addresses: whole chains, rings that break, partitions that heal, a crowd.
# Every scenario shows its figure, and that nothing was lost and nothing came twice.
#
#   mesh.sh [SCENARIO...]    root; all but bulletin when none is named.   POSTRIDER=binary
#   SLACK=3                  so many times as long is still good: for a machine that does other things
#
# fresh      two new nodes and a cable: how long the first message takes
# chain      six in a row; the ends know each other, and nobody between them anyone
# ring       three in a ring, a message every 50 ms; the direct cable is cut, then made deaf
# partition  a host's cable, and the one between two switches, pulled for 3 and for LONG=20 seconds
# static     a peer with an address, no beacons, after an outage of OUTAGE=40 seconds
# restart    both daemons killed, no other network: what was sent before arrives after
# bulletin   for a group of NODES=40 on one switch, near 4 KiB: its bytes there; CAST=false by links
# crowd      NODES=40 on one switch, each writes to EACH=3 others (EACH=all: to everybody)
. "$(dirname "$0")/common.sh"
. "$here/net.sh"
needs_root
needs_namespaces
find_postrider

# most WHAT FIGURE UNIT BOUND: shows a figure and checks it.
most() {
  local bound=$4
  [ "$3" = ms ] && bound=$((bound * ${SLACK:-1}))
  echo "    $1: $2 $3 (at most $bound)"
  check "$1" test "$2" -le "$bound"
}
# Messages from one to another, as many lines as there are: their ids to a file.
send_many() { # FROM TO COUNT FILE
  local n
  for n in $(seq "$3"); do echo "{\"to\":\"$2\",\"text\":\"$1 to $2, $n\"}"; done |
    P "$1" send --batch | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/' >"$4"
}

fresh() {
  node a b; know a b; cable a b
  pause 1
  launch a; launch b
  within 30 answers a; within 30 answers b
  local begun id
  begun=$(now_ms)
  id=$(P a send b "hello")
  arrives b "$id"
  most "fresh: the first message, from when both are up" $(( $(now_ms) - begun )) ms 3000
  check "fresh: once" has b 1
}

chain() {
  node n1 n2 n3 n4 n5 n6; know n1 n6
  local n begun id
  for n in 1 2 3 4 5; do cable "n$n" "n$((n + 1))"; done
  pause 1
  for n in 1 2 3 4 5 6; do launch "n$n"; done
  for n in 1 2 3 4 5 6; do within 60 answers "n$n"; done
  begun=$(now_ms)
  id=$(P n1 send n6 "through four that know neither of us")
  arrives n6 "$id"
  most "chain: the first message over five links" $(( $(now_ms) - begun )) ms 6000
  begun=$(now_ms)
  id=$(P n1 send n6 "again")
  arrives n6 "$id"
  most "chain: one when all links are up" $(( $(now_ms) - begun )) ms 1000
  send_many n1 n6 20 "$W/there"; send_many n6 n1 20 "$W/back"
  check "chain: everything arrives, once" within 60 has n6 22
  check "chain: both ways" within 60 has n1 20
}

# A message every 50 ms until told to stop; what came when.
stream_begins() { # FROM TO
  python3 -c '
import json, os, select, sys
n = 0
while not os.path.exists(sys.argv[2]):
    print(json.dumps({"to": sys.argv[1], "text": f"stream {n}"}), flush=True)
    select.select([], [], [], 0.05)
    n += 1' "$2" "$W/enough" |
    "$POSTRIDER" -q --home "$W/$1" send --batch >"$W/sent" &
  sending=$!
  "$POSTRIDER" -q --home "$W/$2" --json inbox --follow 2>/dev/null | python3 -u -c '
import sys, time
for line in sys.stdin:
    if "\"message\"" in line: print(int(time.time() * 1000), flush=True)' >"$W/came" &
  watching=$!
}
stream_ends() {
  : >"$W/enough"
  wait "$sending"
}
# The longest time without a message since then.
gap_since() {
  python3 - "$W/came" "$1" <<'END'
import sys, time
begun = int(sys.argv[2])
came = [begun, *(t for t in map(int, open(sys.argv[1])) if t > begun), int(time.time() * 1000)]
print(max(b - a for a, b in zip(came, came[1:])))
END
}
ring() {
  node a b c; know a b; know b c; know a c
  cable a b; cable b c; cable a c
  local name begun
  for name in a b c; do launch $name; done
  for name in a b c; do within 60 answers $name; done
  all_linked() { linked a c && linked a b && linked b c; }
  check "ring: all three links" within 30 all_linked
  stream_begins a c
  pause 2
  begun=$(now_ms)
  pull a c
  pause 6
  most "ring: longest gap when the direct cable is pulled" "$(gap_since "$begun")" ms 6000
  plug a c
  within 30 all_linked
  pause 2
  begun=$(now_ms)
  for name in a c; do
    in_space $name nft add table netdev deaf
    in_space $name nft add chain netdev deaf in \
      "{ type filter hook ingress device \"to-$([ $name = a ] && echo c || echo a)\" priority 0; policy drop; }"
  done
  pause 12
  most "ring: longest gap when it falls silent" "$(gap_since "$begun")" ms 6000
  stream_ends
  kill "$watching" 2>/dev/null
  check "ring: everything arrives, once" within 60 has c "$(wc -l <"$W/sent")"
  [ -n "${KEEP:-}" ] && cp "$W"/*.log "$W/sent" "$W/came" "$KEEP"
  echo "    $(wc -l <"$W/sent") messages"
}

heals() { # WHAT BOUND DOWN UP CUT
  local what=$1 bound=$2 down=$3 up=$4 begun id
  eval "$down"
  pause "$5"
  id=$(P a send b "during: $what $5 s")
  sent=$((sent + 1))
  pause 0.3
  eval "$up"
  begun=$(now_ms)
  arrives b "$id"
  most "partition: $what for $5 s, from healing to the message" $(( $(now_ms) - begun )) ms "$bound"
}
partition() {
  node a b; know a b
  switch s; switch t; cable s t
  ip -n "$(space s)" link set to-t master br0; ip -n "$(space t)" link set to-s master br0
  attach a s; attach b t
  launch a; launch b
  check "partition: linked" within 30 linked a b
  local cut sent=0 long=${LONG:-20}
  for cut in 3 "$long"; do
    heals "a host's cable out" 1200 "pull s a" "plug s a" $cut
  done
  # Nobody sees a cable between two switches: how long it takes depends on what TCP has waited.
  heals "the cable between switches out" 4000 "pull s t" "plug s t" 3
  heals "the cable between switches out" 16000 "pull s t" "plug s t" "$long"
  check "partition: everything arrives, once" has b "$sent"
}

static() {
  node a b; know a b; cable a b
  address a b 10.0.0.1/24; address b a 10.0.0.2/24
  setting a "lan = false"; setting b "lan = false" 'listen = ["tls://0.0.0.0:7531"]'
  start b; start a --peer "tls://10.0.0.2:7531#b"
  check "static: linked" within 30 linked a b
  local outage=${OUTAGE:-40} begun id
  pull b a
  id=$(P a send b "during the outage")
  pause "$outage"
  plug b a
  begun=$(now_ms)
  arrives b "$id"
  most "static: after $outage s, from healing to the message" $(( $(now_ms) - begun )) ms 2000
  check "static: once" has b 1
}

restart() {
  node a b; know a b; cable a b
  launch a; launch b
  check "restart: linked" within 30 linked a b
  stop b KILL
  local id begun
  id=$(P a send b "while b is down")
  stop a KILL
  begun=$(now_ms)
  launch a; launch b
  arrives b "$id"
  most "restart: from both starts to the message" $(( $(now_ms) - begun )) ms 3000
  check "restart: once" has b 1
}

crowd() {
  local nodes=${NODES:-40} each=${EACH:-3} n m begun sum=0 worst=0 count
  [ "$each" = all ] && each=$((nodes - 1))
  switch s
  for n in $(seq "$nodes"); do node "k$n"; attach "k$n" s; P "k$n" id --card "$W/k$n.card" >/dev/null; done
  for n in $(seq "$nodes"); do
    for m in $(seq "$each"); do
      P "k$n" add "$W/k$(( (n - 1 + m * 7) % nodes + 1 )).card" >/dev/null
    done
  done
  for n in $(seq "$nodes"); do launch "k$n"; done
  for n in $(seq "$nodes"); do within 120 answers "k$n"; done
  begun=$(now_ms)
  for n in $(seq "$nodes"); do
    for m in $(seq "$each"); do
      P "k$n" send "k$(( (n - 1 + m * 7) % nodes + 1 ))" "from k$n" >/dev/null
    done
  done
  echo "    sent in $(( $(now_ms) - begun )) ms"
  for n in $(seq "$nodes"); do
    check "crowd: k$n has all of its $each, once" within 180 has "k$n" "$each"
  done | grep -v ^ok
  count=$(for n in $(seq "$nodes"); do has "k$n" "$each" && echo; done | wc -l)
  check "crowd: all $nodes have theirs" is "$count" "$nodes"
  echo "    all there after $(( $(now_ms) - begun )) ms"
  for n in $(seq "$nodes"); do
    count=$(links_of "k$n")
    sum=$((sum + count)); [ "$count" -gt "$worst" ] && worst=$count
  done
  echo "    $((sum * 10 / nodes)) tenths of a link to a node, $worst at most"
  # One that makes way for a better one may still say what it was about to, for five seconds.
  count=$(for n in $(seq "$nodes"); do within 15 capped "k$n" && echo; done | wc -l)
  check "crowd: no node has more than 8 links for long" is "$count" "$nodes"
}

# A list of who belongs together, of nearly 4 KiB, goes to everybody on one switch, where what comes in is
# counted: datagrams for all, and what links say more than when nothing happens.
bulletin() {
  local nodes=${NODES:-40} n size before during cast links most words whole repair wants haves
  needs nft
  switch s
  count_frames s
  for n in $(seq "$nodes"); do
    node "k$n"; attach "k$n" s
    [ -n "${CAST:-}" ] && setting "k$n" "lan-cast = $CAST"
  done
  P k1 roster new all >/dev/null
  # Some words to each that cannot be compressed, so that forty are just below 4 KiB.
  for n in $(seq 2 "$nodes"); do
    words=$(head -c "${WORDS:-35}" /dev/urandom | od -An -tx1 | tr -d ' \n' | fold -w 32 | sed 's/^/--group=/')
    # shellcheck disable=SC2086
    P k1 roster add "$(id_of "k$n")" --role keeper $words >/dev/null
  done
  P k1 roster export "$W/all.roster" >/dev/null
  for n in $(seq 2 "$nodes"); do P "k$n" roster follow "$W/all.roster" --yes >/dev/null; done
  for n in $(seq "$nodes"); do launch "k$n"; done
  for n in $(seq "$nodes"); do within 120 answers "k$n"; done
  pause "${SETTLE:-40}"
  # Pings come every 15 s.
  frames s >/dev/null; pause 30; before=$(frames s)
  P k1 roster add "$(id_of k2)" --role pumps >/dev/null
  pause 30; during=$(frames s)
  size=$(P k1 --json bundle ls | python3 -c '
import json, sys
rows = [json.loads(line) for line in sys.stdin]
print(max(row["bytes"] for row in rows if row.get("type") == "bundle"))')
  for n in $(seq 2 "$nodes"); do
    P "k$n" roster show | grep -q pumps && echo
  done | wc -l >"$W/have"
  read -r links whole repair wants haves <<<"$during"
  cast=$((whole + repair + wants + haves))
  links=$((links - ${before%% *}))
  echo "    of $size bytes: $cast for all (once $whole, repair $repair, wants $wants, who has it $haves)"
  echo "    $links more over links than in 30 s without (${before%% *})"
  check "bulletin: all others have it" is "$(cat "$W/have")" "$((nodes - 1))"
  most=$((3 * size))
  [ "${CAST:-true}" = true ] && check "bulletin: at most three times its size" test $((cast + links)) -le "$most"
}
id_of() { P "$1" id --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
# What comes into a switch: datagrams of a cast, and TCP, counted apart, with 14 bytes of Ethernet each.
count_frames() {
  in_space "$1" nft -f - <<END
table bridge count {
  counter whole {}
  counter repair {}
  counter wants {}
  counter haves {}
  counter links {}
  chain in {
    type filter hook prerouting priority 0;
    meta l4proto udp @th,64,16 { 0x202, 0x240-0x2ff } counter name whole
    meta l4proto udp @th,64,16 { 0x205, 0x206 } counter name repair
    meta l4proto udp @th,64,16 0x207 counter name wants
    meta l4proto udp @th,64,8 3 counter name haves
    meta l4proto tcp counter name links
  }
}
END
}
# Bytes of each since the last time: those of links first.
frames() {
  in_space "$1" nft -j reset counters | python3 -c '
import json, sys
found = {}
for entry in json.load(sys.stdin)["nftables"]:
    if "counter" in entry:
        counter = entry["counter"]
        found[counter["name"]] = counter["bytes"] + 14 * counter["packets"]
print(*(found[name] for name in ("links", "whole", "repair", "wants", "haves")))'
}
links_of() { P "$1" --json peers | grep -c '"up":true'; }
capped() { [ "$(links_of "$1")" -le 8 ]; }

[ $# -gt 0 ] || set -- fresh chain ring partition static restart crowd
for scenario in "$@"; do
  echo "== $scenario"
  "$scenario"
  clear_net
done
finish
