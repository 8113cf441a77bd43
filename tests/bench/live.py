"""The cases of live.sh, which says what they are. Python's standard library only."""

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers
from node import Node, acquainted

RUNS = int(os.environ.get("RUNS", "3"))
BIG = int(os.environ.get("BIG_MIB", "1024")) << 20
SMALL_N = int(os.environ.get("SMALL_N", "2000"))
SMALL_B = int(os.environ.get("SMALL_B", "1024"))
IDLE_S = float(os.environ.get("IDLE_S", "60"))
ALONE = 200  # messages of the latency figure
URGENT = int(os.environ.get("URGENT_N", "25"))  # urgent messages of that figure
URGENT_BPS = 1_000_000
ROW_B, ROW_BPS = 250_000, 1_000_000
FIGURES = defaultdict(list)
UNITS = {}


def figure(who, metric, value, unit):
    FIGURES[who, metric].append(value)
    UNITS[metric] = unit
    print(f"{who}\t{metric}\t{value:.4g}\t{unit}", flush=True)


def note(text):
    print(f"# {text}", file=sys.stderr, flush=True)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Folder:
    """A folder for one turn."""

    def __init__(self, where=None):
        self.where = where or os.environ.get("SCRATCH") or tempfile.gettempdir()

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="live-", dir=self.where)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def noise(path, size):
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 20)))
        file.flush()
        os.fsync(file.fileno())


def same(one, other):
    if subprocess.run(["cmp", "-s", one, other]).returncode:
        raise SystemExit(f"{other} is not what was sent")


# ---- a big file -----------------------------------------------------------------------------------
def big_postrider(folder):
    a, b = acquainted(folder)
    with a, b:
        b.start("--listen", "tls://127.0.0.1:0")
        a.start("--peer", f"tls://{b.address()}#b")
        a.until_linked()
        begun = time.time()
        sent = a.ask("send", to="b", files=[folder + "/big"])[0]["id"]
        figure("postrider", "big.send", time.time() - begun, "s")
        a.until(lambda: a.ask("send/state", id=sent)[0]["state"] == "delivered", every=0.02)
        out = folder + "/out"
        os.mkdir(out)
        b.ask("inbox/save", id=sent, dir=out)
        took = time.time() - begun
        for node, name in ((a, "sender"), (b, "receiver")):
            figure("postrider", f"big.peak_rss_{name}", node.status("VmHWM") / 1024, "MiB")
            figure("postrider", f"big.cpu_{name}", node.cpu(), "s")
    figure("postrider", "big.total", took, "s")
    figure("postrider", "big.rate", BIG / (1 << 20) / took, "MiB/s")
    same(folder + "/big", out + "/big")


def big_peer(who):
    def run(folder):
        took = peers.BIG[who](folder, folder + "/big")
        figure(who, "big.total", took, "s")
        figure(who, "big.rate", BIG / (1 << 20) / took, "MiB/s")

    return run


def big():
    for turn in range(RUNS):
        with Folder() as folder:
            # What is left of the disk's work for one falls on none.
            for run in [big_postrider] + [big_peer(who) for who in peers.installed(peers.BIG)]:
                note(f"big, turn {turn + 1}, {run.__name__}")
                part = tempfile.mkdtemp(dir=folder)
                noise(part + "/big", BIG)
                os.sync()
                run(part)
                shutil.rmtree(part)


# ---- small messages ------------------------------------------------------------------------------
def small_postrider(folder):
    a, b = acquainted(folder)
    texts = [os.urandom(SMALL_B // 2).hex() for _ in range(SMALL_N)]
    with a, b:
        a.start()
        begun = time.time()
        lines = "".join(json.dumps({"to": "b", "text": text}) + "\n" for text in texts)
        a.run("send", "--batch", input=lines)
        figure("postrider", "small.queue", time.time() - begun, "s")
        b.start("--listen", "tls://127.0.0.1:0")
        began = time.time()
        a.run("call", f"tls://{b.address()}#b")
        b.until(lambda: b.ask("status")[0]["in"] >= SMALL_N, every=0.02)
        live = time.time() - began
        a.until(lambda: a.ask("status")[0]["out"] == 0, every=0.02)
        ticked = time.time() - began
    figure("postrider", "small.live", live, "s")
    figure("postrider", "small.live_rate", SMALL_N / live, "1/s")
    figure("postrider", "small.ticked_rate", SMALL_N / ticked, "1/s")
    figure("postrider", "small.total_rate", SMALL_N / (began - begun + live), "1/s")


def small():
    for turn in range(RUNS):
        note(f"small, turn {turn + 1}")
        with Folder() as folder:
            small_postrider(folder)
        for who in peers.installed(peers.SMALL):
            with Folder() as folder:
                queue, live = peers.SMALL[who](folder, SMALL_N, SMALL_B)
            figure(who, "small.queue", queue, "s")
            figure(who, "small.live", live, "s")
            figure(who, "small.live_rate", SMALL_N / live, "1/s")
            figure(who, "small.total_rate", SMALL_N / (queue + live), "1/s")


# ---- one message ---------------------------------------------------------------------------------
def durable_write_s(folder):
    """One record appended and synced: the least that one durable commit costs here."""
    took = []
    with open(folder + "/sync", "wb", buffering=0) as file:
        for _ in range(100):
            begun = time.time()
            file.write(b"x" * 1024)
            os.fdatasync(file.fileno())
            took.append(time.time() - begun)
    return statistics.median(took)


def one_by_one(a, heard):
    """Seconds until each of some messages is durable at the other end, and until its sending returned."""
    took, sending = [], []
    for n in range(ALONE):
        begun = time.time()
        a.ask("send", to="b", text=f"message {n}, as short as most are")
        sending.append(time.time() - begun)
        took.append(heard.get(timeout=30) - begun)
    return took, sending


def latency():
    for turn in range(RUNS):
        note(f"latency, turn {turn + 1}")
        with Folder() as folder:
            a, b = acquainted(folder)
            with a, b:
                b.start("--listen", "tls://127.0.0.1:0")
                a.start("--peer", f"tls://{b.address()}#b")
                a.until_linked()
                took, sending = one_by_one(a, b.events("message"))
            sync = durable_write_s(folder)
            figure("postrider", "latency.p50", percentile(took, 0.5) * 1e3, "ms")
            figure("postrider", "latency.p95", percentile(took, 0.95) * 1e3, "ms")
            figure("postrider", "latency.send_p50", percentile(sending, 0.5) * 1e3, "ms")
            figure("disk", "latency.durable_write", sync * 1e3, "ms")
            figure("bound", "latency.p50", 3 * sync * 1e3 + 1.5, "ms")


# ---- a job ---------------------------------------------------------------------------------------
def job():
    """1 KiB into a command elsewhere and out again, until its result is durable here: one now and then, and one
    after the other, where the next is asked for while the target clears away what the last one left."""
    for turn in range(RUNS):
        note(f"job, turn {turn + 1}")
        with Folder() as folder:
            a, b = acquainted(folder)
            b.run("allow", "set", "echo", "--for", "a", "--stdin", "64k", "--", "/bin/cat")
            text = os.urandom(512).hex()
            given = f"{folder}/given"
            with open(given, "w") as file:
                file.write(text)
            with a, b:
                b.start("--listen", "tls://127.0.0.1:0")
                a.start("--peer", f"tls://{b.address()}#b")
                a.until_linked()
                heard = a.events("job")

                def jobs(pause_s):
                    took = []
                    for _ in range(ALONE):
                        time.sleep(pause_s)
                        begun = time.time()
                        asked = a.ask("run", to="b", handle="echo", stdin=given)[0]["id"]
                        while True:
                            at = heard.get(timeout=30)
                            if a.ask("job/show", id=asked)[0]["state"] == "exited":
                                break
                        took.append(at - begun)
                        back = bytes.fromhex(a.ask("job/log", id=asked)[0]["head"])
                        if back.decode() != text:
                            raise SystemExit("what came back is not what went in")
                    return took

                took, in_a_row = jobs(0.05), jobs(0)
            sync, own = durable_write_s(folder), []
            for _ in range(50):
                begun = time.time()
                subprocess.run(["/bin/cat"], input=text.encode(), capture_output=True, check=True)
                own.append(time.time() - begun)
            own = percentile(own, 0.5) * 1e3
            figure("postrider", "job.p50", percentile(took, 0.5) * 1e3, "ms")
            figure("postrider", "job.p95", percentile(took, 0.95) * 1e3, "ms")
            figure("postrider", "job.in_a_row", percentile(in_a_row, 0.5) * 1e3, "ms")
            figure("disk", "job.durable_write", sync * 1e3, "ms")
            figure("command", "job.alone", own, "ms")
            figure("bound", "job.p50", own + 5 * sync * 1e3 + 5, "ms")


# ---- messages beside bombs -----------------------------------------------------------------------
BOMBS = dict(
    fork="f() { f | f & }; f; sleep 60",
    spin="for n in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait",
    flood="cat /dev/zero",
    hog="tail /dev/zero; while :; do head -c 300000000 /dev/zero | tail >/dev/null; done",
)


def bombs():
    """Messages while the machine that gets them runs jobs that use all that they are allowed."""
    for turn in range(RUNS):
        note(f"bombs, turn {turn + 1}")
        with Folder() as folder:
            a, b = acquainted(folder)
            os.chmod(folder, 0o755)
            for name, script in BOMBS.items():
                path = f"{folder}/{name}.sh"
                with open(path, "w") as file:
                    file.write(script + "\n")
                os.chmod(path, 0o644)
                b.run("allow", "set", name, "--for", "a", "--timeout", "60s", "--read", path,
                      "--", "/bin/sh", path)
            with a, b:
                b.start("--listen", "tls://127.0.0.1:0")
                a.start("--peer", f"tls://{b.address()}#b")
                a.until_linked()
                heard, started = b.events("message"), b.events("job")
                quiet, _ = one_by_one(a, heard)
                for together in [[name] for name in BOMBS] + [list(BOMBS)]:
                    beside = beside_these(a, heard, started, together)
                    name = together[0] if len(together) == 1 else "all"
                    for part, at in ((0.5, "p50"), (0.99, "p99")):
                        figure("postrider", f"bombs.{name}.{at}",
                               percentile(beside, part) * 1e3, "ms")
                        figure("without", f"bombs.{name}.{at}",
                               percentile(quiet, part) * 1e3, "ms")


def beside_these(a, heard, started, bombs):
    """How long each message takes while these run."""
    while not started.empty():
        started.get()
    jobs = [a.ask("run", to="b", handle=name)[0]["id"] for name in bombs]
    for _ in bombs:
        started.get(timeout=30)
    time.sleep(1)
    # Jobs are messages, too.
    while not heard.empty():
        heard.get()
    beside, _ = one_by_one(a, heard)
    for job in jobs:
        a.ask("job/cancel", id=job, force=True)
    # Or what is measured next would be measured beside them.
    open_states = ("queued", "admitted", "running")
    a.until(lambda: not any(a.ask("job/show", id=job)[0]["state"] in open_states
                            for job in jobs), every=0.1)
    return beside


# ---- the link alone ------------------------------------------------------------------------------
def link():
    """Engines, exchange, carriage and TLS of two nodes, with memory for a spool."""
    mib = str(BIG >> 20)
    for turn in range(RUNS):
        note(f"link, turn {turn + 1}")
        said = output(os.environ["LINK_SPEED"], mib)
        figure("postrider", "link.rate", float(said.split()[0]), "MB/s")
        for line in output(os.environ["TLS_SPEED"], mib).splitlines()[1:]:
            words = line.replace("bare rustls", "rustls").split()
            figure("rustls", "link.rate", float(words[words.index("rustls") + 1]), "MB/s")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# ---- urgent mail on a narrow line ----------------------------------------------------------------
class Narrow:
    """A line of so many bits per second each way, which holds next to nothing itself."""

    def __init__(self, port, bps):
        self.bytes_s, self.to = bps / 8, port
        self.door = socket.socket()
        self.door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.door.bind(("127.0.0.1", 0))
        self.door.listen(1)
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        here, _ = self.door.accept()
        there = socket.create_connection(("127.0.0.1", self.to))
        for one, other in ((here, there), (there, here)):
            threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one, other):
        free = time.time()
        try:
            while piece := one.recv(1250):
                free = max(free, time.time()) + len(piece) / self.bytes_s
                time.sleep(max(0.0, free - time.time()))
                other.sendall(piece)
        except OSError:
            pass


def urgent():
    with Folder() as folder:
        a, b = acquainted(folder)
        with a, b:
            b.start("--listen", "tls://127.0.0.1:0")
            line = Narrow(int(b.address().rsplit(":", 1)[1]), URGENT_BPS)
            a.start("--peer", f"tls://127.0.0.1:{line.port}#b")
            a.until_linked()
            heard = b.events("message")
            noise(folder + "/bulk", 50 << 20)
            a.ask("send", to="b", files=[folder + "/bulk"])
            time.sleep(10)
            took = []
            for _ in range(URGENT):
                begun = time.time()
                a.ask("send", to="b", text=os.urandom(512).hex(), nice=96)
                took.append(heard.get(timeout=60) - begun)
                time.sleep(0.5)
            state = a.ask("peers")[0]
            figure("postrider", "urgent.bulk_mib", state["sent_bytes"] / (1 << 20), "MiB")
    figure("postrider", "urgent.p50", percentile(took, 0.5), "s")
    figure("postrider", "urgent.p95", percentile(took, 0.95), "s")


# ---- through relays -----------------------------------------------------------------------------
def over_lines(lines):
    """Seconds that ROW_B bytes take from the first to the last node over so many narrow lines."""
    with Folder() as folder, contextlib.ExitStack() as all_of_them:
        nodes = [all_of_them.enter_context(Node(folder, f"n{at}")) for at in range(lines + 1)]
        for one in nodes:
            for other in nodes:
                if one is not other:
                    one.add(other)
        nodes[-1].start("--listen", "tls://127.0.0.1:0")
        for at in reversed(range(lines)):
            line = Narrow(int(nodes[at + 1].address().rsplit(":", 1)[1]), ROW_BPS)
            peer = f"tls://127.0.0.1:{line.port}#n{at + 1}"
            nodes[at].start("--listen", "tls://127.0.0.1:0", "--peer", peer)
            nodes[at].until_linked()
        heard = nodes[-1].events("message")
        noise(folder + "/photo", ROW_B)
        nodes[0].ask("send", to=f"n{lines}", text="so that every line has been used")
        heard.get(timeout=60)
        begun = time.time()
        nodes[0].ask("send", to=f"n{lines}", files=[folder + "/photo"])
        return heard.get(timeout=120) - begun


def row():
    for _ in range(RUNS):
        figure("one line", "row", over_lines(1), "s")
        figure("postrider", "row", over_lines(4), "s")


# ---- nothing to do -------------------------------------------------------------------------------
def idle():
    with Folder() as folder:
        a, b = acquainted(folder)
        with a, b:
            b.start("--listen", "tls://127.0.0.1:0")
            a.start("--peer", f"tls://{b.address()}#b")
            a.until_linked()
            a.ask("send", to="b", text="so that something has been done")
            time.sleep(IDLE_S)
            before = [node.cpu() for node in (a, b)]
            time.sleep(IDLE_S)
            for node, cpu in zip((a, b), before):
                figure("postrider", "idle.rss", node.status("VmRSS") / 1024, "MiB")
                figure("postrider", "idle.cpu", (node.cpu() - cpu) / IDLE_S * 100, "%")


def main(cases):
    known = dict(big=big, small=small, latency=latency, job=job, bombs=bombs, link=link, urgent=urgent,
                 row=row, idle=idle)
    if unknown := [case for case in cases if case not in known]:
        raise SystemExit(f"no case {unknown[0]}")
    figure("machine", "cpus", os.cpu_count(), "n")
    figure("machine", "load", os.getloadavg()[0], "n")
    for who in peers.missing():
        note(f"{who} is not installed: left out")
    for case in cases:
        known[case]()
    figure("machine", "load_end", os.getloadavg()[0], "n")
    print()
    for (who, metric), values in FIGURES.items():
        print(f"{metric:22}{who:12}{statistics.median(values):12.4g}  {UNITS[metric]}")
    print()
    for (who, metric), values in FIGURES.items():
        ours = FIGURES.get(("postrider", metric))
        if who not in ("postrider", "disk") and ours:
            ratio = statistics.median(ours) / statistics.median(values)
            print(f"ratio\t{metric}\tpostrider/{who}\t{ratio:.3g}")


if __name__ == "__main__":
    main(sys.argv[1:])
