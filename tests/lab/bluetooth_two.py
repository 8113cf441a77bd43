#!/usr/bin/env python3
"""Two virtual machines, each with a kernel and a BlueZ of its own, joined by Bluetooth LE alone: the example
program of the transport hears, dials, moves bytes, loses its link when the radios go apart, and finds the
other again when they are back.

    bluetooth_two.py [BLUETOOTH]     as root; some two minutes; needs bumble, from PyPI, once
"""
import os
import subprocess
import sys
import time

import vm
from bluetooth_room import Room, Tagged, end

GUEST = """
. /lab/bluetooth_setup.sh
setup uart 'Privacy = device' || exit 90
B=/lab/bluetooth
"""
SERVES = GUEST + """
$B serve hci0 >/lab/out/log 2>&1 & S=$!
for _ in $(seq 400); do [ -e /lab/stop ] && break; sleep 1; done
kill $S
wait $S
"""
DIALS = GUEST + """
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
L=/lab/out/log
check "64 KiB there and back" sh -c "timeout 120 $B echo hci0 65536 >>$L 2>&1"
check "64 KiB one way" sh -c "timeout 120 $B sink hci0 65536 >>$L 2>&1"
check "64 KiB the other way" sh -c "timeout 120 $B send hci0 65536 >>$L 2>&1"
timeout 120 $B hold hci0 >/lab/out/hold 2>&1 & H=$!
check "a link is held" wait_for /lab/out/hold holding 60
sleep 2
lab-host air far 0 1 >/dev/null
check "out of range it ends" wait_for /lab/out/hold '^held for' 60
wait $H
timeout 30 $B echo hci0 100 >/lab/out/far 2>&1
check "and nobody is heard" sh -c "! grep -q '^heard' /lab/out/far"
lab-host air near 0 1 >/dev/null
check "back in range it is heard and dialled again" sh -c "timeout 120 $B echo hci0 1000 >>$L 2>&1"
grep -hE 'heard|connected|intact|^held' $L /lab/out/hold | sed 's/^/      /'
exit $fails
"""


def main():
    with Room(2) as room:
        room.bring(program(), "bluetooth")
        began = time.time()
        dials = room.machine(DIALS, [0], 600, Tagged("dials "))
        serves = room.machine(SERVES, [1], 600, Tagged("serves"))
        status = dials.wait()
        open(serves.share + "/stop", "w").close()
        serves.wait()
        print(f"status {status} after {time.time() - began:.0f} s")
    end(status)


def program():
    """The example program: as given, or as built now."""
    if len(sys.argv) > 1:
        return sys.argv[1]
    top = os.path.realpath(vm.HERE + "/../..")
    subprocess.run(["cargo", "build", "-q", "-p", "postrider-transports", "--example", "bluetooth"], cwd=top, check=True)
    return os.environ.get("CARGO_TARGET_DIR", top + "/target") + "/debug/examples/bluetooth"


if __name__ == "__main__":
    main()
