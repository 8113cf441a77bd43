#!/usr/bin/env python3
"""Two virtual machines, each with a kernel and a BlueZ of its own, joined by Bluetooth LE alone: the example
program of the transport hears, dials, moves bytes, loses its link when the radios go apart, and finds the
other again when they are back.

    bluetooth_two.py [BLUETOOTH]     as root; some two minutes; needs bumble, from PyPI, once
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import vm

BUMBLE = "bumble==0.0.236"
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


class Tagged:
    def __init__(self, tag):
        self.tag = tag

    def write(self, text):
        if text.strip():
            sys.stdout.write(f"{self.tag} {text}\n")

    def flush(self):
        sys.stdout.flush()


def skip(why):
    print("skipped:", why)
    sys.exit(0)


def bumble():
    """A Python that has it."""
    folder = vm.CACHE + "/bumble"
    if not os.path.exists(folder + "/ok"):
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([folder + "/bin/pip", "-q", "install", BUMBLE], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            skip(f"{BUMBLE} cannot be installed: {error}")
        open(folder + "/ok", "w").close()
    return folder + "/bin/python"


def friends(scratch, who):
    """Homes of nodes that know each other; `who` has the adapters of each that it may use, or nothing."""
    postrider = scratch + "/postrider"
    homes = {name: f"{scratch}/{name}" for name in who}
    for name, home in homes.items():
        subprocess.run([postrider, "-q", "--home", home, "init", "--name", name], check=True, stdout=subprocess.DEVNULL)
        if who[name]:
            with open(home + "/config.toml", "a") as config:
                config.write(f'\n[bluetooth]\nprofile = "quick"\nadapters = ["{who[name]}"]\n')
    for name, home in homes.items():
        card = subprocess.run([postrider, "-q", "--home", home, "id", "--card", "-"], check=True, capture_output=True).stdout
        for other in homes.values():
            if other != home:
                subprocess.run([postrider, "-q", "--home", other, "add", "-"], input=card, check=True, stdout=subprocess.DEVNULL)
    return list(homes.values())


def program(scratch):
    """The example program, stripped: as given, or as built now."""
    if len(sys.argv) > 1:
        built = sys.argv[1]
    else:
        top = os.path.realpath(vm.HERE + "/../..")
        subprocess.run(["cargo", "build", "-q", "-p", "postrider-transports", "--example", "bluetooth"],
                       cwd=top, check=True)
        built = os.environ.get("CARGO_TARGET_DIR", top + "/target") + "/debug/examples/bluetooth"
    subprocess.run(["strip", "-o", scratch + "/bluetooth", built], check=True)
    return scratch + "/bluetooth"


def main():
    if os.getuid() != 0:
        skip("root is needed to build the virtual machine")
    if subprocess.run([vm.HERE + "/vm_build.sh"]).returncode:
        skip("the virtual machine could not be built")
    python = bumble()
    scratch = tempfile.mkdtemp(prefix="postrider-air-")
    put = [program(scratch), vm.HERE + "/bluetooth_setup.sh"]
    air = subprocess.Popen([python, vm.HERE + "/bluetooth_air.py", scratch, "2"], stdout=subprocess.PIPE)
    machines, status = [], 1
    try:
        air.stdout.readline()
        for n, (tag, script) in enumerate((("dials ", DIALS), ("serves", SERVES))):
            machines.append(vm.VM(script, put=put, timeout=600, console=Tagged(tag), uarts=[f"{scratch}/{n}"],
                                  air=scratch + "/air", out=os.environ.get("LOGS") and os.environ["LOGS"] + f"/{n}"))
        began = time.time()
        for machine in machines:
            machine.start()
        status = machines[0].wait()
        open(machines[1].share + "/stop", "w").close()
        machines[1].wait()
        print(f"status {status} after {time.time() - began:.0f} s")
    finally:
        for machine in machines:
            if machine.process and machine.process.poll() is None:
                machine.kill()
                machine.wait()
        air.kill()
        shutil.rmtree(scratch, ignore_errors=True)
    print("all held" if status == 0 else "something did not hold")
    sys.exit(status and 1)


if __name__ == "__main__":
    main()
