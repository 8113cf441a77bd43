#!/bin/bash
# Two islands that never touch, and strangers who carry for both: every message arrives once, every
# receipt comes home, the copies go, and nobody on the way could read a word or a name.
#
#   islands.sh [BINARY]    root
#   EACH=1000              messages each way: half of them go with a carrier, half by stick
#   WALKS=12               how often the carrier comes to an island, at most
#
# On each island two who write and a relay, on a switch without addresses. The ends have each other's
# cards; relays and the carrier know nobody. The carrier's cable is pulled out of one switch and put
# into the other; then there is only a stick, tossed at the relays; then the carrier comes once more.
. "$(dirname "$0")/common.sh"
. "$here/net.sh"
needs_root
needs_namespaces
find_postrider "${1:-}"
each=${EACH:-1000}
max_walks=${WALKS:-12}
people="a1 a2 b1 b2"
relays="ra rb"
stick="$W/stick"

# most WHAT FIGURE UNIT BOUND: shows a figure and checks it.
most() {
  echo "    $1: $2 $3 (at most $4)"
  check "$1" test "$2" -le "$4"
}
lines() { wc -l <"$1"; }
others() { case $1 in a*) echo b1 b2 ;; *) echo a1 a2 ;; esac; }

# Sixty-four markers, of 20 letters each, and in "forms" how each may look: as it is, in hex, in base64
# and as in cards (bech32), wherever in a group of bytes it begins.
# marker WHOSE...: the next one, into $drawn and into those files.
make_markers() {
  python3 - "$W/markers" "$W/forms" <<'END'
import random, string, sys
draw = random.SystemRandom()
letters = string.ascii_uppercase + string.ascii_lowercase + string.digits
alphabets = [(4, "0123456789abcdef"), (5, "qpzry9x8gf2tvdw0s3jn54khce6mua7l"),
             (6, letters + "+/"), (6, letters + "-_")]
def forms(marker):
    yield marker
    for width, alphabet in alphabets:
        for before in range(width):
            bits = "0" * 8 * before + "".join(f"{byte:08b}" for byte in marker.encode())
            begin = -(-8 * before // width) * width
            groups = range(begin, len(bits) - width + 1, width)
            yield "".join(alphabet[int(bits[at:at + width], 2)] for at in groups).lower()
with open(sys.argv[1], "w") as markers, open(sys.argv[2], "w") as looks:
    for _ in range(64):
        marker = "".join(draw.choices(string.ascii_lowercase, k=20))
        print(marker, file=markers)
        for form in set(forms(marker)): print(form, marker, file=looks)
END
  exec 8<"$W/markers"
}
marker() {
  read -r drawn <&8 || drawn=""
  local file
  for file in "$@"; do echo "$drawn" >>"$W/$file"; done
}

# Names and petnames are 12 of the markers. In "knows.X" is what X may know, in "names.X" what its home
# must show, in "for.X" what it must show when everything has arrived.
settle_people() {
  local name other
  for name in $people; do
    marker "names.$name" "knows.$name" $(printf 'knows.%s ' $(others "$name"))
    P "$name" init --name "$drawn" >/dev/null
    P "$name" id --card "$W/$name.card" >/dev/null
    make_space "$name" settled
  done
  for name in $people; do
    for other in $(others "$name"); do
      marker "names.$name" "knows.$name"
      P "$name" add "$W/$other.card" --as "$drawn" >/dev/null
      declare -g "petname_${name}_$other=$drawn"
    done
  done
  node $relays carrier
}
petname() { local name="petname_$1_$2"; echo "${!name}"; }
# mark COUNT text|file: the next markers as texts, or as names and contents of files.
mark() {
  local n from to file ways=(a1.b1 b2.a2 a2.b1 b1.a2 a1.b2 b2.a1 a2.b2 b1.a1)
  for n in $(seq "$1"); do
    from=${ways[$((n % 8))]%.*}; to=${ways[$((n % 8))]#*.}
    marker "for.$to" "knows.$to" "knows.$from"
    if [ "$2" = text ]; then
      echo "{\"to\":\"$(petname "$from" "$to")\",\"text\":\"$drawn\"}" >>"$W/marked.$from"
    else
      file="$W/files/$drawn"
      marker "for.$to" "knows.$to" "knows.$from"
      # Among random bytes, so that nothing is gained by compressing it.
      { head -c 100 /dev/urandom; echo -n "$drawn"; head -c 100 /dev/urandom; } >"$file"
      echo "{\"to\":\"$(petname "$from" "$to")\",\"file\":\"$file\"}" >>"$W/marked.$from"
    fi
  done
}
batch() { P "$1" --json send --batch | grep '"type":"message"' | grep -o '"id":"[0-9a-f]*"' >>"$W/sent.$1"; }
# Messages with these numbers from each island, by those who live there in turn, to each there in turn.
write_all() { # FIRST LAST
  local name
  for name in $people; do
    python3 -c '
import json, sys
name, first, last, *to = sys.argv[1:]
for n in range(int(first), int(last) + 1):
    if n % 2 == int(name[1]) % 2:
        print(json.dumps({"to": to[n // 2 % 2], "text": f"number {n} of {name[0]}"}))' \
      "$name" "$1" "$2" $(for other in $(others "$name"); do petname "$name" "$other"; done) | batch "$name"
  done
}

# What came from one island to the other: which numbers, and whether each message did once.
came() { # SIDE LAST missing|twice|strange
  local name
  rm -f "$W/inbox"
  for name in $people; do
    case $name in "$1"*) cat "$W/sent.$name" ;; *) P "$name" --json inbox >>"$W/inbox" ;; esac
  done >"$W/ids"
  python3 - "$W/inbox" "$W/ids" "$@" <<'END'
import collections, json, re, sys
inbox, sent, side, last, figure = sys.argv[1:]
sent = set(re.findall(r"[0-9a-f]{64}", open(sent).read()))
numbers, ids = collections.Counter(), collections.Counter()
for m in map(json.loads, open(inbox)):
    if m["type"] != "message" or not m["complete"]: continue
    ids[m["id"]] += 1
    if found := re.fullmatch(rf"number (\d+) of {side}", m["text"]): numbers[int(found[1])] += 1
print({"missing": sum(n not in numbers for n in range(1, int(last) + 1)) + len(sent - set(ids)),
       "twice": sum(count - 1 for count in [*numbers.values(), *ids.values()]),
       "strange": len(set(ids) - sent)}[figure])
END
}
all_came() { # WHAT LAST
  local side
  for side in a b; do
    most "$1: missing from $side" "$(came $side "$2" missing)" messages 0
    most "$1: twice from $side" "$(came $side "$2" twice)" messages 0
  done
  check "$1: nothing that nobody sent" is "$(came a "$2" strange)$(came b "$2" strange)" 00
}
status() { P "$1" --json status | field "$2"; }
unreceipted() { local name sum=0; for name in $people; do sum=$((sum + $(status "$name" out))); done; echo $sum; }
copies() { local name sum=0; for name in "$@"; do sum=$((sum + $(status "$name" carried))); done; echo $sum; }
nothing_left() { [ "$(unreceipted)" = 0 ] && [ "$(copies $people $relays carrier)" = 0 ]; }
files_on_stick() { find "$stick/POSTRIDER/C" -type f | wc -l; }
# Of one in seven of the messages: what their senders are shown.
undelivered() {
  local name id
  for name in $people; do
    sed -n '1~7s/"id":"\(.*\)"/\1/p' "$W/sent.$name" | while read -r id; do
      P "$name" --json trace "$id" | grep -q '"what":"delivered"' || echo "$id"
    done
  done | wc -l
}

links_of() { P "$1" --json peers | grep -c '"up":true'; }
has_links() { [ "$(links_of "$1")" -ge "$2" ]; }
alone() { [ "$(links_of "$1")" = 0 ]; }
figures() {
  local name
  for name in $people $relays carrier; do P "$name" --json status; done |
    grep -o '"\(out\|in\|carried\|received_bytes\|sent_bytes\)":[0-9]*'
}
# Until nothing has moved for a second and a half, or two minutes are over.
settled() {
  local before="" now still=0 end=$(( $(now_ms) + 120000 ))
  while [ "$still" -lt 3 ] && [ "$(now_ms)" -lt "$end" ]; do
    now=$(figures)
    if [ "$now" = "$before" ]; then still=$((still + 1)); else still=0; fi
    before=$now
    pause 0.5
  done
}

# found MARKERS PATH...: which of them are in files, or in names of files, in whatever form.
found() {
  awk 'NR == FNR { sought[$1]; next } $2 in sought { print $1 }' "$1" "$W/forms" >"$W/sought"
  { LC_ALL=C grep -raoiFhf "$W/sought" "${@:2}"; find "${@:2}" | grep -oiFf "$W/sought"; } |
    tr A-Z a-z | awk 'NR == FNR { of[$1] = $2; next } { print of[$1] }' "$W/forms" - | sort -u
}
# What can be read at this moment by whom it is not for: what was there and went counts too.
pry() {
  found "$W/markers" "$W/carrier" "$W/ra" "$W/rb" >>"$W/read.carriers"
  found "$W/markers" "$stick" >>"$W/read.stick"
}
visit() { # ISLAND: the carrier comes, stays until nothing moves, and leaves
  local begun
  begun=$(now_ms)
  walks=$((walks + 1))
  attach carrier "$1"
  within 30 has_links carrier 3 || echo "    only $(links_of carrier) of 3 links on $1"
  settled
  pry
  [ "$(copies carrier)" -gt "$carried_most" ] && carried_most=$(copies carrier)
  echo "    visit $walks, to $1: $(( $(now_ms) - begun )) ms; $(copies carrier) copies leave with the carrier, $(unreceipted) messages are without receipt"
  unwire carrier "$1"
  within 30 alone carrier
}
toss() { # NODE [OPTION]
  local code
  P "$1" --json toss "$stick" "${@:2}" >"$W/toss"
  code=$?
  settled
  pry
  echo "    at $1: exit $code, in $(field in <"$W/toss"), out $(field out <"$W/toss"), receipts out $(field receipts_out <"$W/toss")"
}

# Every frame that comes into a port of the switch, to a file; in "lost" what was too fast for us.
capture() { # ISLAND
  ip netns exec "$(space "$1")" python3 -c '
import signal, socket, struct, sys
try: s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
except OSError: sys.exit(1)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
def end(*_):
    with open(sys.argv[1] + ".lost", "w") as lost:
        print(struct.unpack("II", s.getsockopt(263, 6, 8))[1], file=lost)  # PACKET_STATISTICS
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open(sys.argv[1], "wb", buffering=0) as out:
    while True:
        frame, where = s.recvfrom(1 << 17)
        if where[2] != socket.PACKET_OUTGOING: out.write(frame)' "$W/capture.$1" &
  captures[$1]=$!
}
overhears() { # ISLAND NODE: what is said in clear on the island is in its capture
  in_space "$2" python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.sendto(b"in clear to all on the island", ("ff02::1", 9, 0, socket.if_nametoindex(sys.argv[1])))' "to-$1"
  grep -qaF "in clear to all on the island" "$W/capture.$1"
}

declare -A captures=()
walks=0 carried_most=0 drawn="" captured=yes
mkdir "$stick" "$W/files"
make_markers
settle_people
mark 24 text
mark 14 file
check "all 64 markers are in the mail and the names" is "$(cat "$W"/names.* "$W"/for.* | sort -u | wc -l)" 64
switch A; switch B
for name in a1 a2 ra; do attach $name A; done
for name in b1 b2 rb; do attach $name B; done
capture A; capture B
for name in $people $relays carrier; do launch $name; done
for name in $people $relays carrier; do within 60 answers $name; done
for name in $people $relays; do check "$name meets both others on its island" within 30 has_links $name 2; done
for island in A B; do [ -d "/proc/${captures[$island]}" ] || captured=no; done
if [ $captured = yes ]; then
  check "the capture on A hears what is said in clear" within 10 overhears A a1
  check "the capture on B hears what is said in clear" within 10 overhears B b1
else
  echo "skipped: the capture (no packet sockets here)"
fi

echo "== a carrier"
half=$((each / 2))
begun=$(now_ms)
for name in $people; do batch $name <"$W/marked.$name"; done
write_all 1 $half
echo "    $(cat "$W"/sent.* | wc -l) messages sent in $(( $(now_ms) - begun )) ms"
settled
island=A
while [ $walks -lt "$max_walks" ]; do
  visit $island
  [ $island = A ] && island=B || island=A
  nothing_left && break
done
echo "    $walks visits, $(( $(now_ms) - begun )) ms"
check "carrier: it carried" test "$carried_most" -gt 0
all_came carrier $half
most "carrier: without receipt" "$(unreceipted)" messages 0
most "carrier: left with the carrier" "$(copies carrier)" copies 0
most "carrier: left with relays and neighbours" "$(copies $people $relays)" copies 0

echo "== only a stick"
begun=$(now_ms)
write_all $((half + 1)) "$each"
settled
# There and back with the mail of both, then with the receipts of both: three journeys, where all went
# on before the stick did.
for journey in 1 2 3 4 5 6; do
  toss ra --init; toss rb
  nothing_left && [ "$(files_on_stick)" = 0 ] && break
done
echo "    $journey journeys, $(( $(now_ms) - begun )) ms"
all_came stick "$each"
most "stick: without receipt" "$(unreceipted)" messages 0
most "stick: left with relays and neighbours" "$(copies $people $relays)" copies 0
most "stick: left on it" "$(files_on_stick)" files 0

echo "== the carrier again"
visit A; visit B
most "again: taken of what had arrived by stick" "$(copies carrier $people $relays)" copies 0
all_came again "$each"
most "again: of one in seven, not delivered by what trace says" "$(undelivered)" messages 0

echo "== what could be read"
for island in A B; do kill "${captures[$island]}" 2>/dev/null; wait "${captures[$island]}"; done
for name in $people $relays carrier; do stop $name; done
pry
for name in $people; do
  # Otherwise nothing that follows says anything.
  check "read: $name has the $(lines "$W/for.$name") that came, in clear" is "$(found "$W/for.$name" "$W/$name" | wc -l)" "$(lines "$W/for.$name")"
  check "read: and the names that it gave" is "$(found "$W/names.$name" "$W/$name" | wc -l)" "$(lines "$W/names.$name")"
  grep -vFxf "$W/knows.$name" "$W/markers" >"$W/secret"
  most "read: by $name, of $(lines "$W/secret") that are between others" "$(found "$W/secret" "$W/$name" | wc -l)" markers 0
done
found "$W/markers" "$W"/{carrier,ra,rb}.log >>"$W/read.carriers"
most "read: on the disks of carrier and relays" "$(sort -u "$W/read.carriers" | wc -l)" markers 0
most "read: on the stick" "$(sort -u "$W/read.stick" | wc -l)" markers 0
if [ $captured = yes ]; then
  echo "    $(cat "$W"/capture.[AB] | wc -c) bytes captured"
  most "read: frames that the captures missed" $(( $(cat "$W/capture.A.lost") + $(cat "$W/capture.B.lost") )) frames 0
  most "read: on both switches" "$(found "$W/markers" "$W"/capture.[AB] | wc -l)" markers 0
fi
finish
