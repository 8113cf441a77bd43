#!/usr/bin/env python3
"""Daemons that are killed at exactly the moment in which something becomes durable, while jobs go by.

    failpoints.py [issuer relay target]       POSTRIDER=binary (the newest build by default)
    TIMES=3      how often every point (20 is the whole of it)
    POINTS=24    the points: the Nth such call of a thread, from 1
    CALLS=fdatasync,fsync,rename,pwrite64

Alice has a command run at Carol's, through Mid. One of the three runs under strace, which kills it with
SIGKILL when one of its threads makes that call for the Nth time, then it is started again. What must hold
each time: a job that was promised ran once and its true result is here; one that was not promised ran at
most once; nobody says "unknown" but where the supervisor was lost, which none is here."""
import json, os, shutil, subprocess, sys, tempfile, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here + "/../bench")
TARGET = os.environ.get("CARGO_TARGET_DIR", here + "/../../target")
TIMES, POINTS = int(os.environ.get("TIMES", "3")), int(os.environ.get("POINTS", "24"))
CALLS = os.environ.get("CALLS", "fdatasync,fsync,rename,pwrite64").split(",")
PATIENCE_S = 60


def skip(why):
    print(f"skipped: {why}")
    sys.exit(0)


def find_postrider():
    if not os.environ.get("POSTRIDER"):
        built = [f"{TARGET}/{kind}/postrider" for kind in ("release", "debug")]
        built = sorted(filter(os.path.exists, built), key=os.path.getmtime)
        os.environ["POSTRIDER"] = built[-1] if built else skip("nothing is built")


find_postrider()
from node import Node  # noqa: E402  (it asks for the binary)


class Victim(Node):
    def start(self, *args, at=None):
        command = [os.environ["POSTRIDER"], "--home", self.home, "-q", "daemon", "--no-lan", *args]
        if at:
            call, n = at
            inject = f"{call}:signal=SIGKILL:when={n}"
            # It is the daemon that is waited for and killed: strace stands aside (-D).
            command = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                       f"inject={inject}", *command]
        self.args = args
        self.log = open(self.home + "/failpoints.log", "ab")
        self.daemon = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def lives(self):
        return self.daemon.poll() is None

    def end(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()
        self.daemon = self.asking = None

    def command(self, *args):
        command = [os.environ["POSTRIDER"], "--home", self.home, "--json", *args]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def within(is_so, seconds=PATIENCE_S):
    end = time.time() + seconds
    while not is_so():
        if time.time() > end:
            return False
        time.sleep(0.02)
    return True


class Line:
    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.alice, self.mid, self.carol = (Victim(folder, name) for name in ("alice", "mid", "carol"))
        for one, other in ((self.alice, self.mid), (self.mid, self.carol), (self.alice, self.carol)):
            one.add(other)
            other.add(one)
        os.mkdir(folder + "/ledger")
        self.ledger, script = folder + "/ledger/lines", folder + "/note.sh"
        open(self.ledger, "w").close()
        with open(script, "w") as file:
            file.write(f'echo "$1" >> {self.ledger}\nsleep 0.0$(($1 % 7))\necho "done $1"\nexit $(($1 % 3))\n')
        for path, mode in ((folder + "/ledger", 0o777), (self.ledger, 0o666), (script, 0o644)):
            os.chmod(path, mode)
        self.carol.run("allow", "set", "note", "--for", "alice", "--best-effort", "--read", script,
                       "--write", folder + "/ledger", "--", "/bin/sh", script, "{n:int(0..1000000)}")
        # Mid listens where it listened at first; the two ends dial it there.
        self.mid.start("--listen", "tls://127.0.0.1:0")
        within(lambda: os.path.exists(self.mid.home + "/socket"))
        self.number, self.port = 0, int(self.mid.address().rsplit(":", 1)[1])
        self.mid.end()

    def begin(self, role, at):
        listen = f"tls://127.0.0.1:{self.port}"
        self.mid.start("--listen", listen, at=at if role == "relay" else None)
        peer = f"tls://127.0.0.1:{self.port}#mid"
        self.alice.start("--peer", peer, at=at if role == "issuer" else None)
        self.carol.start("--peer", peer, at=at if role == "target" else None)

    def once(self, role, at):
        """Whether the point was reached."""
        self.number += 1
        self.begin(role, at)
        victim = dict(issuer=self.alice, relay=self.mid, target=self.carol)[role]
        asked = self.alice.command("run", "carol", "-n", "--", "note", str(self.number))
        promised = asked.returncode == 0 and json.loads(asked.stdout.splitlines()[0])["id"]
        over = lambda: not victim.lives() or (promised and self.state(promised) == "exited")
        if promised and not within(over):
            raise SystemExit(f"{role} {at}: neither killed nor answered")
        killed = not victim.lives()
        if killed:
            victim.daemon.wait()
            victim.start(*victim.args)
        if promised and not within(lambda: self.state(promised) in ("exited", "unknown")):
            raise SystemExit(f"{role} {at}: job {self.number} has no result; {self.alice.home}")
        ran = [int(line) for line in open(self.ledger)].count(self.number)
        if ran > 1 or promised and ran != 1:
            raise SystemExit(f"{role} {at}: job {self.number} ran {ran} times")
        if promised:
            line = json.loads(self.alice.command("job", "show", promised).stdout.splitlines()[0])
            true = (line["state"], line["exit_code"], line["stdout"]) == (
                "exited", self.number % 3, f"done {self.number}\n")
            if not true:
                raise SystemExit(f"{role} {at}: job {self.number}: {line}")
        self.end()
        return killed

    def end(self):
        for node in (self.alice, self.carol, self.mid):
            node.end()

    def state(self, job):
        said = self.alice.command("job", "show", job)
        return json.loads(said.stdout.splitlines()[0])["state"] if said.returncode == 0 else None


def main(roles):
    if not shutil.which("strace"):
        skip("strace is not installed")
    probe = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "true"]
    if subprocess.run(probe, capture_output=True).returncode:
        skip("nothing may be traced here")
    total = 0
    for role in roles or ["issuer", "relay", "target"]:
        kills = 0
        for turn in range(TIMES):
            with tempfile.TemporaryDirectory(prefix="failpoints-") as folder:
                line = Line(folder)
                try:
                    for call in CALLS:
                        for n in range(1, POINTS + 1):
                            kills += line.once(role, (call, n))
                finally:
                    line.end()
        total += kills
        print(f"ok    {role}: killed {kills} times at {len(CALLS)} x {POINTS} points, "
              f"{TIMES} times each; every job once, every result true", flush=True)
        if not kills:
            raise SystemExit(f"{role}: not one point was reached")
    print(f"all held: {total} kills")


main(sys.argv[1:])
