#!/bin/bash
# The power goes while messages are sent (the spool on ext4) and while sticks are written (ext4,
# exFAT, FAT): what send or toss reported as done must be there afterwards.
#
#   powercut.sh [CUTS] [CASE]...    cuts per case (2); cases: spool-ext4 stick-ext4 stick-exfat
#                                   stick-vfat; a quarter of a minute per cut; root
. "$(dirname "$0")/common.sh"
cuts=${1:-2}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- spool-ext4 stick-ext4 stick-exfat stick-vfat
needs_root
needs python3 mkfs.ext4 apt-get
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86_64"
find_postrider
"$here/vm_build.sh" || skip "the virtual machine could not be built"
W=$(mktemp -d -t postrider-powercut.XXXXXX)
trap 'rm -rf "$W"' EXIT
cp "$POSTRIDER" "$W/postrider"
A() { "$W/postrider" -q --home "$W/a" "$@"; }
B() { "$W/postrider" -q --home "$W/b" "$@"; }
A init --name Alice >/dev/null; B init --name Bob >/dev/null
B id --card - | A add - >/dev/null
A id --card - | B add - >/dev/null

# Every tenth message has a body of its own beside the log; now and then the index is opened.
spool_writer='
P="/tmp/postrider -q --home /disk/a"
cp /lab/postrider /tmp; cp -r /lab/a /disk/a; head -c 400000 /dev/urandom >/tmp/large; sync
for n in $(seq 100000); do
  if [ $((n % 10)) = 0 ]; then id=$($P send Bob -f /tmp/large) || exit 3
  else id=$($P send Bob "message $n") || exit 3; fi
  echo "ack $id"
  [ $((n % 15)) = 0 ] && $P queue >/dev/null
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
  ids=$($P send Bob "message $n") || exit 3
  [ $((n % 5)) = 0 ] && ids="$ids $($P send Bob -f /tmp/large)"
  $P toss /disk >/dev/null || exit 4
  for id in $ids; do echo "ack $id"; done
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

for case; do
  what=${case%-*} fs=${case#*-}
  echo "== $case"
  writer=${what}_writer checker=${what}_checker
  python3 "$here/powercut.py" --cuts "$cuts" --fs "$fs" --put "$W/postrider" --put "$W/a" --put "$W/b" \
    "${!writer}" "${!checker}"
  check "$case: nothing that was promised is lost" is $? 0
done
finish
