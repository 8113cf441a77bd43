"""Mail over a channel that three modems share: who sends is deaf, two at once spoil each other where both are
heard, and chance takes a tenth of the rest. Frames last as long as LoRa's do at SF8 and 125 kHz.

    air.py POSTRIDER TEXTS WAIT
"""

import heapq
import json
import math
import os
import pathlib
import pty
import random
import select
import subprocess
import sys
import tempfile
import threading
import time
import tty

HEARS = {(0, 1), (1, 0), (1, 2), (2, 1)}
LOST = 0.1
DUTY_S = 36.0
NAMES = ["ann", "ben", "cay"]


def air_s(count):
    """Semtech AN1200.22: SF8, 125 kHz, 4/5, 8 symbols of preamble, explicit header, CRC."""
    symbol_s = 256 / 125_000
    symbols = 8 + max(0, math.ceil((8 * count - 32 + 28 + 16) / 32)) * 5
    return (8 + 4.25 + symbols) * symbol_s


class Modem:
    """A KISS modem without an opinion of its own: it sends at once what it is given."""

    def __init__(self):
        self.far, self.near = pty.openpty()
        tty.setraw(self.near)
        os.set_blocking(self.far, False)
        self.name = os.ttyname(self.near)
        self.came, self.waiting, self.until, self.spent, self.frames = b"", [], 0.0, [], 0

    def feed(self):
        self.came += os.read(self.far, 4096)
        *frames, self.came = self.came.split(b"\xc0")
        for frame in frames:
            if len(frame) > 1 and frame[0] & 15 == 0:
                self.waiting.append(frame[1:].replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb"))

    def hear(self, frame):
        frame = frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        try:
            os.write(self.far, b"\xc0\x00" + frame + b"\xc0")
        except BlockingIOError:
            pass


class Air(threading.Thread):
    def __init__(self, modems):
        super().__init__(daemon=True)
        self.modems, self.chance, self.worst = modems, random.Random(1), 0.0
        self.collided = self.lost = 0

    def run(self):
        running, number = [], 0
        while True:
            now = time.monotonic()
            while running and running[0][0] <= now:
                _, _, sender, frame, bad = heapq.heappop(running)
                for at, modem in enumerate(self.modems):
                    if (sender, at) not in HEARS:
                        continue
                    if at in bad:
                        self.collided += 1
                    elif self.chance.random() < LOST:
                        self.lost += 1
                    else:
                        modem.hear(frame)
            for sender, modem in enumerate(self.modems):
                if not modem.waiting or modem.until > now:
                    continue
                frame = modem.waiting.pop(0)
                took, bad = air_s(len(frame)), set()
                for _, _, other, _, spoiled in running:
                    common = {at for at in range(len(self.modems)) if {(other, at), (sender, at)} <= HEARS}
                    bad |= common | {other}
                    spoiled |= common | {sender}
                number += 1
                modem.frames += 1
                modem.until = now + took
                modem.spent = [(at, us) for at, us in modem.spent if at > now - 3600] + [(now, took)]
                self.worst = max(self.worst, sum(us for _, us in modem.spent))
                heapq.heappush(running, (now + took, number, sender, frame, bad))
            ready, _, _ = select.select([modem.far for modem in self.modems], [], [], 0.002)
            for modem in self.modems:
                if modem.far in ready:
                    modem.feed()


def main():
    binary, texts, wait = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    modems = [Modem() for _ in NAMES]
    air = Air(modems)
    air.start()
    daemons = []
    with tempfile.TemporaryDirectory(prefix="postrider-air.") as folder:
        home = {name: str(pathlib.Path(folder) / name) for name in NAMES}

        def say(name, *words):
            told = subprocess.run([binary, "-q", "--home", home[name], *words], capture_output=True, text=True)
            if told.returncode not in (0, 7):
                sys.exit(f"{name}: {' '.join(words)}: {told.stderr}")
            return told.stdout

        try:
            for name in NAMES:
                say(name, "init", "--name", name)
                say(name, "id", "--card", f"{folder}/{name}.card")
            for name in NAMES:
                for other in NAMES:
                    if other != name:
                        say(name, "add", f"{folder}/{other}.card")
            for name, modem in zip(NAMES, modems):
                with open(f"{home[name]}/config.toml", "a") as config:
                    config.write('\n[air]\nregion = "europe"\n')
                radio = f"serial://{modem.name}?driver=kiss&raw=yes&air=sf8,bw125,cr5&freq=868.1MHz"
                words = [binary, "-q", "--home", home[name], "daemon", "--no-lan", "--peer", radio]
                daemons.append(subprocess.Popen(words, stdin=subprocess.DEVNULL))
            while not all(os.path.exists(f"{home[name]}/socket") for name in NAMES):
                if any(daemon.poll() is not None for daemon in daemons):
                    sys.exit("a daemon did not start")
                select.select([], [], [], 0.05)
            report(say, air, modems, texts, wait)
        finally:
            for daemon in daemons:
                daemon.terminate()
            for daemon in daemons:
                daemon.wait()


def report(say, air, modems, texts, wait):
    ways = [("ann", "cay"), ("cay", "ann"), ("ben", "ann"), ("ben", "cay")]
    sent, begun = {}, time.monotonic()
    for at in range(texts):
        sender, to = ways[at % len(ways)]
        urgent = ["--urgent"] if at % 3 == 0 else []
        said = say(sender, "send", to, f"{at}: the road by the mill is open again, bring the large pump", *urgent)
        sent[said.strip()] = (sender, to, bool(urgent), time.monotonic())
        select.select([], [], [], 8)
    here, ticked = {}, {}
    while time.monotonic() - begun < wait and len(ticked) < texts:
        for name in NAMES:
            for line in say(name, "--json", "inbox").splitlines():
                told = json.loads(line)
                if told["type"] == "message" and told["id"] in sent:
                    here.setdefault(told["id"], time.monotonic())
        for id, (sender, *_) in sent.items():
            if id in ticked:
                continue
            events = [json.loads(line) for line in say(sender, "--json", "trace", id).splitlines()]
            if any(event.get("what") == "delivered" for event in events):
                ticked[id] = time.monotonic()
        select.select([], [], [], 0.5)
    counts = [say(name, "--json", "inbox").count('"type":"message"') for name in NAMES]
    urgent = sorted(here[id] - at for id, (_, _, urgent, at) in sent.items() if urgent and id in here)
    took = sorted(ticked[id] - at for id, (*_, at) in sent.items() if id in ticked)
    print(f"    {len(here)} of {texts} here, {len(ticked)} ticked; urgent after {', '.join(f'{s:.1f}' for s in urgent)} s; "
          f"ticks after {', '.join(f'{s:.0f}' for s in took)} s")
    print(f"    {sum(modem.frames for modem in modems)} frames, {air.collided} spoiled, {air.lost} lost; "
          f"the fullest hour {air.worst:.1f} s of {DUTY_S:.0f}")
    checks = [
        ("all are here", len(here) == texts),
        ("once", sum(counts) == texts),
        ("all are ticked", len(ticked) == texts),
        ("nobody sends more than 1 % of an hour", air.worst <= DUTY_S),
    ]
    for what, held in checks:
        print(f"{'ok   ' if held else 'FAIL '} air: {what}")
    if not all(held for _, held in checks):
        sys.exit(1)


main()
