#!/bin/bash
# Two homes and a stick on this machine: ext4 by the kernel, exFAT through FUSE. Both ways, full,
# read-only, pulled in the middle of a toss, and the power cut right after one. At no time may a
# message be lost, and the next toss must finish what was interrupted.
#
#   media.sh [BINARY]      about a minute; root.   PULLS=5   how often the stick is pulled
. "$(dirname "$0")/common.sh"
pulls=${PULLS:-5}
needs_root
needs mkfs.ext4 losetup python3 blkid cmp
find_postrider "${1:-}"
. "$here/media_host.sh"
trap media_cleanup EXIT
W=$MEDIA/work
mkdir -p "$W"
A() { "$POSTRIDER" --home "$W/a" "$@"; }
B() { "$POSTRIDER" --home "$W/b" "$@"; }
seed=${SEED:-$$}
RANDOM=$seed
echo "seed: $seed"

people() {
  rm -rf "$W"; mkdir -p "$W/out"
  A -q init --name Alice >/dev/null; B -q init --name Bob >/dev/null
  A id --card - >"$W/alice.card"; B id --card - >"$W/bob.card"
  A -q add "$W/bob.card"; B -q add "$W/alice.card"
}
texts_of_bob() { B --json inbox | python3 -c 'import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] == "message" and m["complete"]: print(m["id"])' | sort; }
waiting() { A --json queue | field count; }

both_ways() { # NAME
  local id file
  people
  id=$(A -q send Bob 'by stick')
  head -c 20000000 /dev/urandom >"$W/film"
  file=$(A -q send Bob -f "$W/film")
  media_plug "$1"
  A toss "$(media_at "$1")" >"$W/log"; check "$1: out" is $? 0
  media_unplug "$1"; media_plug "$1"
  B toss "$(media_at "$1")" >"$W/log"; check "$1: in" is $? 0
  check "$1: both messages are there" is "$(texts_of_bob)" "$(printf '%s\n' "$id" "$file" | sort)"
  B -q inbox save "$file" "$W/out" >/dev/null
  check "$1: the file is the same" cmp "$W/film" "$W/out/film"
  media_unplug "$1"; media_plug "$1"
  A toss "$(media_at "$1")" >"$W/log"
  check "$1: receipts came back" is "$(waiting)" 0
  media_unplug "$1"
}

full() { # NAME
  people
  head -c 60000000 /dev/urandom >"$W/film"
  A -q send Bob -f "$W/film" --bulk >/dev/null
  local urgent; urgent=$(A -q send Bob 'help' --sos)
  media_plug "$1"
  A --json toss "$(media_at "$1")" >"$W/log"; check "$1: full is exit 10" is $? 10
  media_unplug "$1"; media_plug "$1"
  B toss "$(media_at "$1")" >"$W/log"
  check "$1: the urgent one was carried" is "$(texts_of_bob)" "$urgent"
  # What waits goes when there is room: every visit takes away what arrived.
  local visits=0
  while [ "$(waiting)" != 0 ] && [ $visits -lt 12 ]; do
    A toss "$(media_at "$1")" >"$W/log" 2>&1
    B toss "$(media_at "$1")" >"$W/log" 2>&1
    visits=$((visits + 1))
  done
  echo "      $visits more visits"
  check "$1: in the end all of it arrived" is "$(texts_of_bob | wc -l)" 2
  media_unplug "$1"
}

read_only() { # NAME
  people
  A -q send Bob 'taken from a locked card' >/dev/null
  media_plug "$1"; A -q toss "$(media_at "$1")" >/dev/null; media_unplug "$1"
  B -q send Alice 'cannot leave' >/dev/null
  media_plug "$1" ro
  B --json toss "$(media_at "$1")" >"$W/log" 2>/dev/null; check "$1: read-only is exit 3" is $? 3
  check "$1: what was on it was taken" is "$(texts_of_bob | wc -l)" 1
  media_unplug "$1"
}

pulled() { # NAME: ext4 only
  local n sent= cut=0
  people
  media_plug "$1"; head -c 100000 /dev/urandom >"$(media_at "$1")/holiday.jpg"
  sync; cp "$(media_at "$1")/holiday.jpg" "$W/"
  media_unplug "$1"
  for n in $(seq "$pulls"); do
    head -c 100000000 /dev/urandom >"$W/film"
    sent+="$(A -q send Bob -f "$W/film")"$'\n'
    # How long a whole toss of this takes, on a scratch directory: the pull comes before that.
    mkdir "$MEDIA/scratch"
    local began=$EPOCHREALTIME
    A --json toss --out "$MEDIA/scratch" >/dev/null
    local whole_us=$(( (${EPOCHREALTIME/./} - ${began/./}) / n ))
    rm -rf "$MEDIA/scratch"
    media_plug "$1"
    A toss "$(media_at "$1")" >"$W/log" 2>&1 &
    local toss=$!
    media_yank "$1" "$(awk "BEGIN { print $whole_us * ($RANDOM % 1000) / 1e9 }")"
    wait $toss; local code=$?
    echo "      pull $n: the toss ended with $code"
    [ $code != 0 ] && cut=$((cut + 1))
    [ $code -le 12 ] || { echo "FAIL  a pulled stick is no fault of ours"; fails=$((fails + 1)); }
  done
  # Where a pull falls is chance: none in the middle shows less, and is no fault.
  [ $cut -gt 0 ] || echo "skipped: no pull fell into the middle of a toss; more PULLS show more"
  media_plug "$1"
  A toss "$(media_at "$1")" >"$W/log"; check "$1: the next toss finishes" is $? 0
  check "$1: other files on it are untouched" cmp "$W/holiday.jpg" "$(media_at "$1")/holiday.jpg"
  B toss "$(media_at "$1")" >"$W/log"; check "$1: nothing on it is damaged" is $? 0
  check "$1: all of it arrived" is "$(texts_of_bob)" "$(echo -n "$sent" | sort)"
  media_unplug "$1"
}

power_cut() { # NAME: ext4 only
  local n acked=
  people
  for n in 1 2 3; do
    acked+="$(A -q send Bob "before cut $n")"$'\n'
    media_plug "$1"
    A -q toss "$(media_at "$1")" >/dev/null
    media_powercut "$1"
  done
  media_plug "$1"
  B toss "$(media_at "$1")" >"$W/log"
  check "$1: what a toss reported survives the cut" is "$(texts_of_bob)" "$(echo -n "$acked" | sort)"
  media_unplug "$1"
}

run() { # FSTYPE
  media_new "$1" "$1" 200M && both_ways "$1"
  media_new "$1" "$1" 32M && full "$1"
  media_new "$1" "$1" 32M && read_only "$1"
}
[ "${ONLY:-}" = pull ] || run ext4
media_new pull ext4 $((pulls * 105 + 100))M && pulled pull
media_new cut ext4 32M && power_cut cut
if [ -e /dev/fuse ] && command -v mkfs.exfat mount.exfat-fuse >/dev/null; then
  run exfat
else
  echo "exFAT skipped: exfatprogs and exfat-fuse are not here"
fi
finish
