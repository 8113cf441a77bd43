"""Two nodes and nothing between them but modems that are spoken to in lines: mail both ways, and its receipts.

    modems.py POSTRIDER EXAMPLES [rylr998] [sms] [hayes]
"""

import os
import pathlib
import pty
import subprocess
import sys
import tempfile
import threading
import time
import tty

import sms

WAIT = 90


class Telephone:
    """A modem of a telephone line. It answers if it is told to, and repeats nothing."""

    def __init__(self, number, network):
        self.number, self.network, self.other, self.connected, self.waits = number, network, None, False, False
        network[number] = self
        self.dialled = 0
        self.far, self.near = pty.openpty()
        tty.setraw(self.near)
        self.name = os.ttyname(self.near)
        threading.Thread(target=self.run, daemon=True).start()

    def say(self, words):
        os.write(self.far, b"\r\n" + words + b"\r\n")

    def run(self):
        came = b""
        while True:
            said = os.read(self.far, 4096)
            if self.connected and said == b"+++":
                self.connected = False
                self.say(b"OK")
            elif self.connected:
                os.write(self.other.far, said)
            else:
                came += said
                while b"\r" in came and not self.connected:
                    line, came = came.split(b"\r", 1)
                    self.command(line.decode("latin1"))

    def command(self, line):
        if line.startswith("ATDT"):
            other = self.network[line[4:]]
            self.dialled += 1
            if other.connected or not other.waits:
                return self.say(b"BUSY")
            self.other, other.other = other, self
            return other.say(b"RING")
        if line == "ATA":
            self.connected = self.other.connected = True
            self.waits = False
            self.say(b"CONNECT 33600")
            return self.other.say(b"CONNECT 33600")
        if line == "ATH0" and self.other:
            other, self.other = self.other, None
            if other.connected:
                other.connected = False
                other.say(b"NO CARRIER")
        self.waits = line == "ATS0=0"
        return self.say(b"OK")


class Node:
    def __init__(self, program, room, name):
        self.program, self.home, self.daemon = program, room / name, None
        self.run("init", "--name", name)
        self.card = room / f"{name}.card"
        self.run("id", "--card", self.card)
        with open(self.home / "config.toml", "a") as config:
            config.write('\n[air]\nregion = "europe"\n')

    def run(self, *words):
        run = subprocess.run([self.program, "--home", self.home, *map(str, words)], capture_output=True, text=True)
        return run.stdout

    def up(self, peer):
        log = open(self.home / "log", "a")
        words = [self.program, "--home", self.home, "daemon", "--peer", peer]
        self.daemon = subprocess.Popen(words, stdout=log, stderr=log)

    def down(self):
        self.daemon.terminate()
        self.daemon.wait(30)

    def port(self):
        lines = [line for line in self.run("status").splitlines() if line.strip().startswith("port")]
        return lines[0].split("?")[-1] if lines else "no port"


def soon(holds):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.5)
    return False


def main():
    program, examples, kinds = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:] or ["rylr998", "sms", "hayes"]
    fails = 0

    def check(what, holds, *nodes):
        nonlocal fails
        fails += not holds
        print("ok   " if holds else "FAIL ", what, *([] if holds else [node.port() for node in nodes]), flush=True)

    for kind in kinds:
        with tempfile.TemporaryDirectory() as room:
            try:
                one(kind, program, examples, pathlib.Path(room), check)
            except (OSError, subprocess.SubprocessError, KeyError, IndexError) as error:
                check(f"{kind}: {error}", False)
    return fails


def one(kind, program, examples, room, check):
    alice, bob = Node(program, room, "alice"), Node(program, room, "bob")
    alice.run("add", bob.card, "--as", "Bob", "--yes")
    bob.run("add", alice.card, "--as", "Alice", "--yes")
    network, modems = {}, None
    if kind == "rylr998":
        modems = subprocess.Popen([examples / "modems", "rylr998", "2"], stdout=subprocess.PIPE, text=True)
        places = [modems.stdout.readline().strip() for _ in range(2)]
        words = ["driver=at&profile=rylr998&freq=869.525MHz&sf=7"] * 2
    elif kind == "sms":
        places = [sms.Phone(number, network).name for number in (sms.HOME, sms.AWAY)]
        words = [f"driver=at&profile=sms&number={number}&cost=1" for number in (sms.AWAY, sms.HOME)]
    elif kind == "hayes":
        near, far = Telephone("101", network), Telephone("102", network)
        places, words = [near.name, far.name], ["driver=hayes&number=102&rate=38400#Bob", "driver=hayes&answer=yes&rate=38400"]
    else:
        raise KeyError(f"there are rylr998, sms and hayes, and no {kind}")
    peers = [f"serial://{place}?{words}" for place, words in zip(places, words)]
    both = alice, bob
    try:
        bob.up(peers[1])
        alice.up(peers[0])
        alice.run("send", "Bob", f"there by {kind}")
        begun = time.monotonic()
        check(f"{kind}: mail goes there", soon(lambda: f"there by {kind}" in bob.run("inbox")), *both)
        took = time.monotonic() - begun
        check(f"{kind}: and its receipt comes back", soon(lambda: "Nothing waits" in alice.run("queue")), *both)
        bob.run("send", "Alice", f"back by {kind}")
        check(f"{kind}: mail comes back ({took:.0f} s)", soon(lambda: f"back by {kind}" in alice.run("inbox")), *both)
        if kind == "hayes":
            # This end goes without a word: there is no wire to lower. It hangs up when it comes again.
            alice.down()
            alice.up(peers[0])
            alice.run("send", "Bob", "again by hayes")
            check("hayes: a line that was left is hung up and dialled again",
                  soon(lambda: "again by hayes" in bob.run("inbox")) and near.dialled > 1, *both)
    finally:
        for node in both:
            if node.daemon:
                node.down()
        if modems:
            modems.terminate()
            modems.wait()


if __name__ == "__main__":
    sys.exit(main())
