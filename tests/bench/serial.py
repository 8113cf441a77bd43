#!/usr/bin/env python3
"""A file over a serial line that is slow, damages, delays: two daemons beside ZMODEM and UUCP, in the
same run, each line for each of them in turn.

  serial.py [CASE]...         cases: clean ber5 ber4 ber3 far half both xonxoff seven slow letter letter1200 (all)
  POSTRIDER=FILE              the binary (a release build by default)
  RIVALS=zmodem,uucp          beside whom, where they are installed (uucp needs root); RIVALS= for nobody
  SCRATCH=DIR  SEED=N         where; another seed for the damage
  LIMIT_S=130                 after so long a rival has failed

Output: "who<TAB>case.percent<TAB>value<TAB>%": bytes of the file over what the line carries between
the first and the last byte of its sender. Beside it how many bytes both sent. Ours begins with the
offer on a link that is up, so with a round trip, and ends with the last byte before the message is
whole and durable at the other end; seals, padding and heads are included. That of the others begins
with their greeting and ends with their farewell.

Of a letter, 100 bytes, what counts is all that both say from the moment in which the line is up, and the
time from the first byte. Ours is sealed, signed, and done when its sender has the receipt.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import acquainted

HERE = pathlib.Path(__file__).resolve().parent
SEED = int(os.environ.get("SEED", "1"))
LIMIT_S = float(os.environ.get("LIMIT_S", "130"))
# What the cable does, how long the file is, what stands in the address, and what is asked for.
CASES = {
    "clean": ([], 200_000, "", 98),
    "ber5": (["--ber", "1e-5"], 200_000, "", 94),
    "ber4": (["--ber", "1e-4"], 200_000, "", 84),
    "ber3": (["--ber", "1e-3"], 200_000, "", 55),
    "far": (["--latency", "300"], 200_000, "", 96),
    "half": (["--half", "20"], 200_000, "&duplex=half&turn=20", 96.5),
    "both": ([], 100_000, "", 95),
    "xonxoff": (["--xonxoff"], 200_000, "", None),
    "seven": (["--sevenbit"], 100_000, "", None),
    "slow": (["--baud", "9600", "--latency", "20"], 20_000, "", None),
    "letter": (["--baud", "9600", "--latency", "20"], 100, "", 600),
    "letter1200": (["--baud", "1200", "--latency", "20"], 100, "", 600),
}
LETTERS = ("letter", "letter1200")
TEXT = "Bridge at the mill is out. Come by the upper road; we have water, two beds and a stove. Alice at ten"


def figure(who, case, percent, sent):
    asked = CASES[case][3]
    asked = f"\t(asked: {asked})" if who == "postrider" and asked else ""
    print(f"{who}\t{case}.percent\t{percent:.1f}\t%\tsent {sent[0]} + {sent[1]}{asked}", flush=True)


def letter_figure(who, case, stats, done=None):
    sent = stats[0]["sent"] + stats[1]["sent"]
    first = min(end["first"] for end in stats if end["sent"])
    seconds = (done or max(end["last"] for end in stats if end["sent"])) - first
    asked = f"\t(asked: {CASES[case][3]})" if who == "postrider" else ""
    print(f"{who}\t{case}.bytes\t{sent}\tB{asked}\n{who}\t{case}.time\t{seconds:.2f}\ts", flush=True)


class Cable:
    def __init__(self, folder, case):
        self.baud = 115200
        options = CASES[case][0]
        if "--baud" in options:
            self.baud = int(options[options.index("--baud") + 1])
        self.line = f"{folder}/line"
        os.mkdir(self.line)
        command = [sys.executable, HERE / "cable.py", self.line, "--seed", str(SEED), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def say(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def stats(self):
        self.say("stats")
        return json.loads(self.process.stdout.readline())

    def percent(self, stats, end, size):
        return 100 * size / (stats[end]["last"] - stats[end]["first"]) / (self.baud / 10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def noise(path, size, seed):
    pathlib.Path(path).write_bytes(random.Random(seed).randbytes(size))


def postrider(case, folder):
    size, options = CASES[case][1:3]
    with Cable(folder, case) as cable, contextlib.ExitStack() as stack:
        nodes = acquainted(folder)
        for node, other, name in (nodes[0], "b", "a"), (nodes[1], "a", "b"):
            stack.enter_context(node)
            node.start("--peer", f"serial://{cable.line}/{name}?rate={cable.baud}{options}#{other}")
        nodes[0].until_linked()
        # The round trip is known then, and what comes through.
        nodes[0].run("ping", "b")
        time.sleep(3)
        senders = [0, 1] if case == "both" else [0]
        heard = [nodes[1 - n].events("message") for n in senders]
        for n in senders:
            noise(f"{folder}/file{n}", size, n + 7)
        cable.say("mark")
        ask = lambda n: nodes[n].ask("send", to="ba"[n], files=[f"{folder}/file{n}"])
        sending = [threading.Thread(target=ask, args=[n]) for n in senders]
        [thread.start() for thread in sending]
        stats = None
        for n, queue in zip(senders, heard):
            queue.get(timeout=600)
            stats = cable.stats()
        [thread.join() for thread in sending]
        for n in senders:
            figure("postrider", case, cable.percent(stats, n, size), [stats[n]["sent"], stats[1 - n]["sent"]])


def letter(case, folder):
    assert len(TEXT) == 100
    with Cable(folder, case) as cable, contextlib.ExitStack() as stack:
        nodes = acquainted(folder)
        for node in nodes:
            stack.enter_context(node)
        ports = [f"serial://{cable.line}/{end}?rate={cable.baud}#{other}" for end, other in ("ab", "ba")]
        # They have met: cards and first words are behind them.
        for node, port in zip(nodes, ports):
            node.start("--peer", port)
        nodes[0].until_linked()
        for n in (0, 1):
            heard = nodes[n].events("delivered")
            nodes[n].ask("send", to="ba"[n], text="hello")
            heard.get(timeout=120)
        for node in nodes:
            node.daemon.terminate()
            node.daemon.wait()
        nodes[0].run("send", "b", TEXT)
        # It is there, and its end is heard of in its events.
        for node in nodes:
            node.asking = None
            node.start()
        heard = nodes[0].events("delivered")
        time.sleep(1)
        cable.say("mark")
        for node, port in zip(nodes, ports):
            node.ask("link/add", uri=port)
        heard.get(timeout=120)
        letter_figure("postrider", case, cable.stats(), time.monotonic())


def rival(name, begin):
    def run(case, folder):
        size = CASES[case][1]
        # What a daemon of another user reads and writes.
        os.chmod(folder, 0o777)
        if case in LETTERS:
            pathlib.Path(f"{folder}/file").write_text(TEXT)
        else:
            noise(f"{folder}/file", size, 7)
        with Cable(folder, case) as cable:
            ports = [os.path.realpath(f"{cable.line}/{end}") for end in "ab"]
            came, processes = begin(folder, ports, cable.baud)
            end = time.time() + LIMIT_S
            while time.time() < end and any(process.poll() is None for process in processes[:1]):
                time.sleep(0.05)
            stats = cable.stats()
            for process in processes:
                process.kill()
                process.wait()
            came = pathlib.Path(came)
            whole = came.exists() and came.read_bytes() == pathlib.Path(f"{folder}/file").read_bytes()
            if case in LETTERS:
                return letter_figure(name, case, stats) if whole else print(f"{name}\t{case}\tfailed")
            sent = [stats[0]["sent"], stats[1]["sent"]]
            figure(name, case, cable.percent(stats, 0, size) if whole else 0, sent)

    return run


def start(folder, command, port=None, cwd=None):
    with contextlib.ExitStack() as stack:
        fd = os.open(port, os.O_RDWR | os.O_NOCTTY) if port else os.open("/dev/null", os.O_RDWR)
        stack.callback(os.close, fd)
        said = stack.enter_context(open(f"{folder}/said", "ab"))
        return subprocess.Popen(command, stdin=fd, stdout=fd, stderr=said, cwd=cwd, start_new_session=True)


def zmodem(folder, ports, _baud):
    os.mkdir(f"{folder}/in")
    receives = start(folder, ["rz", "-b", "-q", "-y"], ports[1], f"{folder}/in")
    time.sleep(0.2)
    sends = start(folder, ["sz", "-b", "-q", f"{folder}/file"], ports[0])
    return f"{folder}/in/file", [sends, receives]


def uucp(folder, ports, baud):
    for name, other, port in ("one", "two", ports[0]), ("two", "one", ports[1]):
        home = pathlib.Path(folder, name)
        for inner in ("spool", "public", "lock"):
            (home / inner).mkdir(parents=True)
        files = "".join(f"{key} {home}/{value}\n" for key, value in {
            "spool": "spool", "pubdir": "public", "lockdir": "lock", "logfile": "log", "statfile": "stats",
            "debugfile": "debug", "sysfile": "sys", "portfile": "port", "dialfile": "dial",
            "passwdfile": "passwd"}.items())
        (home / "config").write_text(f"nodename {name}\n{files}v2-files no\nhdb-files no\n")
        (home / "dial").write_text("")
        (home / "port").write_text(f"port p\ntype direct\ndevice {port}\nspeed {baud}\ncarrier false\nhardflow false\n")
        (home / "sys").write_text(
            f'system {other}\ntime any\nport p\nspeed {baud}\nchat "" \\r\nchat-timeout 20\nprotocol i\n'
            "called-login ANY\nlocal-send /\nlocal-receive /\nremote-send /\nremote-receive /\ncommands *\n")
        os.chmod(port, 0o666)
    own = lambda: subprocess.run(["chown", "-R", "uucp", folder], check=True)
    own()
    os.chmod(f"{folder}/two/public", 0o777)
    config = lambda name: ["-I", f"{folder}/{name}/config"]
    subprocess.run(["uucp", *config("one"), "-r", f"{folder}/file", f"two!{folder}/two/public/file"], check=True)
    own()
    calls = start(folder, ["/usr/sbin/uucico", *config("one"), "-D", "-S", "two"])
    # Whoever calls flushes its port as it opens it: answer only then.
    time.sleep(0.5)
    return f"{folder}/two/public/file", [calls, start(folder, ["/usr/sbin/uucico", *config("two")], ports[1])]


def main():
    top = HERE.parent.parent
    if "POSTRIDER" not in os.environ:
        subprocess.run(["cargo", "build", "-q", "--release", "--bin", "postrider"], cwd=top, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", f"{top}/target")
        os.environ["POSTRIDER"] = f"{target}/release/postrider"
    runs = [postrider]
    rivals = os.environ.get("RIVALS", "zmodem,uucp").split(",")
    if "zmodem" in rivals and shutil.which("sz"):
        runs.append(rival("zmodem", zmodem))
    if "uucp" in rivals and os.path.exists("/usr/sbin/uucico") and os.geteuid() == 0:
        runs.append(rival("uucp", uucp))
    for case in sys.argv[1:] or CASES:
        for run in runs:
            if case == "both" and run is not postrider:
                continue
            folder = tempfile.mkdtemp(prefix="serial-", dir=os.environ.get("SCRATCH"))
            try:
                (letter if run is postrider and case in LETTERS else run)(case, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
