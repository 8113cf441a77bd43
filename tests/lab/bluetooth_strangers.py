#!/usr/bin/env python3
"""A machine with three controllers, each heard by the others, and twenty strangers that say something all the time:
Ann's daemon, Ben's, and somebody who opens channels to Ann and says nothing.

    bluetooth_strangers.py POSTRIDER BLUETOOTH     as root; some two minutes; needs bumble

BLUETOOTH is the example program of the transport. BlueZ's own emulator gives both ends of a connection the handle
that is free at one of them, so with it nobody can have two links of which the other end has one; bumble's can.
"""
import sys

from bluetooth_room import Room, end

STRANGERS = 20
GUEST = """
. /lab/bluetooth_setup.sh
O=/lab/out
lab-dbus
bt_settings 'Privacy = device'
for n in 0 1 2; do
  bt_uart $n
  for _ in $(seq 100); do [ -d /sys/class/bluetooth/hci$n ] && break; sleep .1; done
done
bt_daemon
for n in 0 1 2; do bt_wait hci$n || exit 90; done
cp /lab/postrider /tmp/postrider
cp -r /lab/ann /lab/ben /tmp
P() { /tmp/postrider -q --home "/tmp/$1" "${@:2}"; }
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
declare -A pid
answers() { [ -S "/tmp/$1/socket" ] && P "$1" --json status >/dev/null 2>&1; }
start() {
  /tmp/postrider -v --home "/tmp/$1" daemon --no-lan 2>>"$O/$1.log" & pid[$1]=$!
  until answers "$1"; do sleep .1; done
}
stop() { kill "${pid[$1]}"; wait "${pid[$1]}"; }
# As the daemon logs it: a command takes a second here.
came() { grep -q "what=message id=\\"$2" "$O/$1.log"; }
there() { for _ in $(seq $(($3 * 10))); do came "$1" "$2" && return; sleep .1; done; return 1; }
resident_kb() { sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' "/proc/${pid[$1]}/status"; }
descriptors() { ls "/proc/${pid[$1]}/fd" | wc -l; }

start ann
before=$(descriptors ann)
first_kb=$(resident_kb ann)
# Whom that program hears first it knocks at: there is only Ann.
timeout 100 /lab/bluetooth knock hci2 4 >$O/knock.log 2>&1 & K=$!
wait_for $O/knock.log '^channel' 60
id=$(P ben send ann "while a stranger is there")
start ben
begun=$(now_ms)
check "a stranger that holds its links keeps nobody out" there ann "$id" 15
echo "      mail beside it $(($(now_ms) - begun)) ms after both are up"
wait $K
sed 's/^/      stranger: /' $O/knock.log
check "a stranger has two links at once, at most" grep -qx 'open at once: [12] of 4' $O/knock.log
check "it learns nothing: not a byte came but the hello" grep -q '^all ended after .* s, 0 bytes came' $O/knock.log
lab-host air strangers $STRANGERS >/dev/null
sleep 5
id=$(P ann send ben "among strangers")
check "mail among twenty who are nobody's" there ben "$id" 30
sleep 40
id=$(P ben send ann "after a while")
check "and after a while" there ann "$id" 30
stop ben
sleep 8
id=$(P ben send ann "anew")
start ben
begun=$(now_ms)
check "and anew, among them" there ann "$id" 30
echo "      $(($(now_ms) - begun)) ms after both are up"
echo "      descriptors $before before, $(descriptors ann) after; $first_kb and $(resident_kb ann) kB resident"
check "no descriptor more but those of the link" test "$(descriptors ann)" -le $((before + 6))
stop ann
stop ben
exit $fails
"""


def main():
    postrider, example = sys.argv[1:3]
    with Room(3) as room:
        room.bring(example, "bluetooth")
        room.friends(room.bring(postrider, "postrider"), {"ann": "hci0", "ben": "hci1"})
        status = room.machine(f"STRANGERS={STRANGERS}\n{GUEST}", range(3), 600).wait()
    end(status)


if __name__ == "__main__":
    main()
