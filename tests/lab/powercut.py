#!/usr/bin/env python3
"""Cuts the power of a machine that writes, and looks afterwards whether what it promised is there.

    powercut.py [--cuts 3] [--fs ext4|vfat|exfat] [--seconds 4] [--seed N] [--put FILE]... WRITER CHECKER

WRITER is a shell command, run in a virtual machine with a disk at /disk whose cache is volatile
(lossydisk.py); it prints "ack NAME" for every item that it promises. CHECKER is run in another
machine after the cut, with the names that were promised on its standard input; it exits 0 when all
of them are there, 1 when not. Exit: 0 nothing was lost, 1 something was, 2 no result.
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import vm

DISK_BYTES = 128 << 20
MAKE = {"ext4": ["mkfs.ext4", "-qF"], "vfat": ["mkfs.vfat", "-F", "32"], "exfat": ["mkfs.exfat"]}
# A first promise comes within this time on the slowest machine seen.
FIRST_PROMISE_S = 120


class NoResult(Exception):
    """Something other than the question went wrong."""


class Promises:
    """The console of the writer."""

    def __init__(self):
        self.names, self.others = [], []

    def write(self, text):
        for line in text.splitlines():
            if line.startswith("ack "):
                self.names.append(line.split()[1])
            elif line.strip():
                self.others.append(line)

    def flush(self):
        pass


def attach(folder, image, seed):
    server = subprocess.Popen([sys.executable, vm.HERE + "/lossydisk.py", folder + "/nbd", image,
                               str(seed)], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    return server


def boot(folder, fs, command, put, names, console):
    with open(folder + "/names", "w") as file:
        file.writelines(name + "\n" for name in names)
    script = f"""modprobe -a {fs} nls_ascii nls_utf8
mkdir /disk
mount -t {fs} /dev/vdb /disk || exit 50
cat >/run/command <<"END"
{command}
END
bash /run/command </lab/names
status=$?
umount /disk
exit $status
"""
    drive = f"file=nbd+unix:///?socket={folder}/nbd"
    machine = vm.VM(script, [*put, folder + "/names"], drives=[drive], console=console)
    return machine.start()


def write_until_cut(folder, image, arguments, seed):
    chance = random.Random(seed)
    server = attach(folder, image, seed)
    promises = Promises()
    machine = boot(folder, arguments.fs, arguments.writer, arguments.put, [], promises)
    try:
        end = time.time() + FIRST_PROMISE_S
        while not promises.names and time.time() < end and machine.process.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.3, arguments.seconds))
        if not promises.names or machine.process.poll() is not None:
            raise NoResult("the writer ended by itself, or promised nothing: "
                           + " | ".join(promises.others[-5:]))
    finally:
        machine.kill()
        server.send_signal(signal.SIGUSR1)
        said = server.communicate()[0].strip()
        machine.wait()
    print(f"   {len(promises.names)} promises; {said}", flush=True)
    return promises.names


def one_cut(arguments, seed):
    folder = tempfile.mkdtemp(prefix="postrider-cut-")
    image = folder + "/image"
    try:
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(MAKE[arguments.fs] + [image], check=True, stdout=subprocess.DEVNULL)
        names = write_until_cut(folder, image, arguments, seed)
        server = attach(folder, image, seed)
        machine = boot(folder, arguments.fs, arguments.checker, arguments.put, names, sys.stdout)
        status = machine.wait()
        server.terminate()
        server.wait()
        if status not in (0, 1):
            raise NoResult(f"the checker ended with {status} (50: the disk cannot be mounted)")
        return status == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--fs", choices=sorted(MAKE), default="ext4")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--put", action="append", default=[])
    parser.add_argument("writer")
    parser.add_argument("checker")
    arguments = parser.parse_args()
    subprocess.run([vm.HERE + "/vm_build.sh"], check=True)
    print(f"seed: {arguments.seed}")
    kept, without = [], 0
    while len(kept) < arguments.cuts:
        try:
            kept.append(one_cut(arguments, arguments.seed + len(kept) + without))
        except NoResult as why:
            # On a busy host an emulated machine sometimes does not even boot.
            without += 1
            print(f"no result, and so once more ({without}): {str(why)[:200]}", flush=True)
            if without > 3 + arguments.cuts // 2:
                sys.exit(2)
    print(f"{sum(kept)} of {len(kept)} cuts on {arguments.fs} lost nothing")
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
