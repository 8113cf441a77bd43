#!/bin/bash
# The power goes while messages are sent (the spool on ext4) and while sticks are written (ext4,
# exFAT, FAT): what send or toss reported as done must be there afterwards.
#
#   powercut.sh [BINARY]      half a minute per cut; root
#   CUTS=2 CASES="spool-ext4 stick-ext4 stick-exfat stick-vfat"    cuts per case; which cases
. "$(dirname "$0")/common.sh"
cuts=${CUTS:-2}
cases=${CASES:-spool-ext4 stick-ext4 stick-exfat stick-vfat}
needs_root
needs python3 mkfs.ext4 apt-get
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86_64"
find_postrider "${1:-}"
"$here/vm_build.sh" || skip "the virtual machine could not be built"
W=$(mktemp -d -t postrider-powercut.XXXXXX)
trap 'rm -rf "$W"' EXIT
cp "$POSTRIDER" "$W/postrider"
A() { "$W/postrider" -q --home "$W/a" "$@"; }
B() { "$W/postrider" -q --home "$W/b" "$@"; }
A init --name Alice >/dev/null; B init --name Bob >/dev/null
B id --card - | A add - >/dev/null
A id --card - | B add - >/dev/null

# Groups through one process (one sync for several), single ones, a body beside the log, and the
# index opened now and then.
spool_writer='
P="/tmp/postrider -q --home /disk/a"
cp /lab/postrider /tmp; cp -r /lab/a /disk/a; head -c 400000 /dev/urandom >/tmp/large; sync
for n in $(seq 100000); do
  for m in $(seq 40); do echo "{\"to\":\"Bob\",\"text\":\"message $n.$m\"}"; done |
    $P send --batch | sed -u "s/.*\"id\":\"\([0-9a-f]*\)\".*/ack \1/"
  id=$($P send Bob -f /tmp/large) || exit 3
  echo "ack $id"
  [ $((n % 3)) = 0 ] && $P queue >/dev/null
done'
spool_checker='
P="/tmp/postrider --home /disk/a"
cp /lab/postrider /tmp
$P --json queue >/tmp/queue || { $P queue | tail -3; exit 1; }
$P spool check >/tmp/check || { cat /tmp/check; exit 1; }
python3 -c "
import json, sys
there = {b[\"message\"] for b in map(json.loads, open(\"/tmp/queue\")) if b[\"type\"] == \"bundle\"}
names = sys.stdin.read().split()
lost = [n for n in names if n not in there]
print(\"   \", len(names), \"promised,\", len(lost), \"lost\", *lost[:3])
sys.exit(bool(lost))"'
# The sender lives in memory: only the stick can tell.
stick_writer='
P="/tmp/postrider -q --home /tmp/a"
cp /lab/postrider /tmp; cp -r /lab/a /tmp/a; head -c 300000 /dev/urandom >/tmp/large
for n in $(seq 100000); do
  for m in $(seq 10); do echo "{\"to\":\"Bob\",\"text\":\"message $n.$m\"}"; done |
    $P send --batch >/tmp/sent || exit 3
  [ $((n % 3)) = 0 ] && $P --json send Bob -f /tmp/large >>/tmp/sent
  $P toss /disk >/dev/null || exit 4
  sed "s/.*\"id\":\"\([0-9a-f]*\)\".*/ack \1/" /tmp/sent
done'
stick_checker='
P="/tmp/postrider --home /tmp/b"
cp /lab/postrider /tmp; cp -r /lab/b /tmp/b
$P toss /disk >/tmp/toss; r=$?
[ $r = 0 ] || { echo "    toss ended with $r"; tail -5 /tmp/toss; }
$P --json inbox >/tmp/inbox || exit 1
python3 -c "
import json, sys
there = {m[\"id\"] for m in map(json.loads, open(\"/tmp/inbox\")) if m.get(\"complete\")}
names = sys.stdin.read().split()
lost = [n for n in names if n not in there]
print(\"   \", len(names), \"promised,\", len(lost), \"lost\", *lost[:3])
sys.exit(bool(lost))"'

for case in $cases; do
  what=${case%-*} fs=${case#*-}
  echo "== $case"
  writer=${what}_writer checker=${what}_checker
  python3 "$here/powercut.py" --cuts "$cuts" --fs "$fs" --put "$W/postrider" --put "$W/a" --put "$W/b" \
    "${!writer}" "${!checker}"
  check "$case: nothing that was promised is lost" is $? 0
done
finish
