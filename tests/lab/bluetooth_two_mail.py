#!/usr/bin/env python3
"""Two virtual machines joined by Bluetooth LE alone, each with a daemon: a file goes from one to the other while
their radios go out of range and come back, again and again; then the one that sent it sleeps, and has a message for
the other when it wakes.

    bluetooth_two_mail.py POSTRIDER [CUTS] [KIB]     as root; 10 cuts, 5120 KiB; some five minutes; needs bumble
"""
import sys

from bluetooth_room import Room, Tagged, end

COMMON = """
. /lab/bluetooth_setup.sh
setup uart 'Privacy = device' || exit 90
cp -r /lab/$me /tmp/home
cp /lab/postrider /tmp/postrider
P() { /tmp/postrider -q --home /tmp/home "$@"; }
/tmp/postrider -v --home /tmp/home daemon --no-lan 2>/lab/out/log & D=$!
until [ -S /tmp/home/socket ] && P --json status >/dev/null 2>&1; do sleep .1; done
"""
RECEIVES = "me=ben" + COMMON + """
for _ in $(seq 900); do [ -e /lab/stop ] && break; sleep 1; done
kill $D
wait $D
# All that came over all links.
echo "received $(python3 -c 'import re; print(sum(int(n) for line in open("/lab/out/log") if "of a link that ended" in line for n in re.findall("received=([0-9]+)", line)))')"
mkdir -p /tmp/saved
P inbox save "$(P --json inbox | sed -n 's/.*"id":"\\([0-9a-f]*\\)".*"kind":"file".*/\\1/p' | head -1)" /tmp/saved >/dev/null
sha256sum /tmp/saved/film | cut -d' ' -f1
"""
SENDS = "me=ann" + COMMON + """
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
# As the daemon logs it: a command takes a second here.
ups() { grep -c 'a link is up' /lab/out/log; }
linked() { [ "$(ups)" -gt "$(grep -c 'of a link that ended' /lab/out/log)" ]; }
begun=$(now_ms)
for _ in $(seq 600); do linked && break; sleep .05; done
echo "      the first link after $(($(now_ms) - begun)) ms"
check "they meet" linked
head -c $((KIB * 1024)) /dev/urandom >/tmp/film
sha256sum /tmp/film | cut -d' ' -f1
id=$(P send ben -f /tmp/film)
# With its seals, heads and padding.
P --json status | sed -n 's/.*"class":"own","bytes":\\([0-9]*\\).*/sent \\1/p'
delivered() { P --json trace "$id" | grep -q '"what":"delivered"'; }
worst=0
for n in $(seq $CUTS); do
  sleep 3
  delivered && { echo "      it was there after $((n - 1)) cuts"; break; }
  lab-host air far 0 1 >/dev/null
  for _ in $(seq 300); do linked || break; sleep .1; done
  check "cut $n is noticed" eval '! linked'
  sleep 3
  # From before it is asked for to when the daemon logs it: this shell is slow, above all when the file goes on.
  near=$(now_ms)
  lab-host air near 0 1 >/dev/null
  for _ in $(seq 300); do linked && break; sleep .1; done
  check "and they are linked again" linked
  took=$(($(date -d "$(grep 'a link is up' /lab/out/log | tail -1 | cut -d' ' -f1)" +%s%3N) - near))
  [ $took -gt $worst ] && worst=$took
  echo "      linked again $took ms after the radios were in range"
done
check "each time they are linked again within five seconds" test $worst -le 5000
for _ in $(seq 300); do delivered && break; sleep 1; done
check "the file arrives" delivered
echo "      after $(($(now_ms) - begun)) ms in all"
# All sleeps but the devices: with those this machine does not come back.
echo freezer >/sys/power/pm_test
for n in 1 2 3; do
  echo mem >/sys/power/state
  awake=$(now_ms)
  id=$(P send ben "awake, $n")
  for _ in $(seq 100); do delivered && break; sleep .1; done
  check "a message after sleep $n" delivered
  echo "      delivered $(($(now_ms) - awake)) ms after waking"
done
exit $fails
"""


def main():
    postrider, cuts, kib = sys.argv[1], *(sys.argv[2:] + ["10", "5120"][len(sys.argv) - 2:])[:2]
    heard = [Tagged("sends   "), Tagged("receives")]
    with Room(2) as room:
        room.friends(room.bring(postrider, "postrider"), {"ann": None, "ben": None})
        sends = room.machine(f"KIB={kib}\nCUTS={cuts}\n{SENDS}", [0], 1200, heard[0])
        receives = room.machine(RECEIVES, [1], 1200, heard[1])
        status = sends.wait()
        open(receives.share + "/stop", "w").close()
        receives.wait()
    sent, received = (told(of, word) for of, word in zip(heard, ("sent", "received")))
    extra = received / sent - 1 if sent and received else 1
    print(f"      {sent} bytes, sealed, for {int(kib) * 1024}; {received} came, with Noise, greetings and a receipt: {extra * 100:.2f} % more")
    hashes = [{line.strip() for line in of.lines if len(line.strip()) == 64} for of in heard]
    for what, held in (("the file is the same", len(hashes[0] & hashes[1]) == 1),
                       ("hardly anything came twice", extra <= 0.02)):
        print("ok   " if held else "FAIL ", what)
        status = status or (0 if held else 1)
    end(status)


def told(of, word):
    """The number that a machine told under a word."""
    numbers = [line.split()[1] for line in of.lines if line.startswith(word + " ") and line.split()[1:]]
    return int(numbers[0]) if numbers else 0


if __name__ == "__main__":
    main()
