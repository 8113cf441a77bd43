"""What others do with the same work: NNCP, Syncthing, dtn7. Loopback only."""

import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.request

from node import free_port

PATIENCE_S = 300


def until(what, is_so, every=0.02):
    end = time.time() + PATIENCE_S
    while not is_so():
        if time.time() > end:
            raise SystemExit(f"{what} did not happen")
        time.sleep(every)


def end(*processes):
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


# ---- NNCP ----------------------------------------------------------------------------------------
class Nncp:
    """Two nodes a and b; b listens."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        keys = {node: self.keys() for node in "ab"}
        for node, other in ("ab", "ba"):
            for name in ("spool", "in"):
                os.makedirs(f"{folder}/{node}/{name}")
            mine = "\n".join(f"    {key}: {value}" for key, value in keys[node].items())
            public = ("id", "exchpub", "signpub", "noisepub")
            me, them = (
                "\n".join(f"      {key}: {keys[who][key]}" for key in public)
                for who in (node, other)
            )
            address = f'addrs: {{lo: "127.0.0.1:{self.port}"}}' if other == "b" else ""
            text = f"""{{
  spool: {folder}/{node}/spool
  log: {folder}/{node}/log
  noprogress: true
  self: {{
{mine}
  }}
  neigh: {{
    self: {{
{me}
    }}
    {other}: {{
{them}
      incoming: {folder}/{node}/in
      {address}
    }}
  }}
}}
"""
            open(f"{folder}/{node}.hjson", "w").write(text)
        self.b = keys["b"]["id"]

    def keys(self):
        out = subprocess.run(["nncp-cfgnew", "-nocomments"], capture_output=True, text=True)
        wanted = ("id", "exchpub", "exchprv", "signpub", "signprv", "noisepub", "noiseprv")
        found = {}
        for line in out.stdout.splitlines():
            key, _, value = line.strip().partition(": ")
            if key in wanted and key not in found:
                found[key] = value
        return found

    def command(self, node, verb, *args):
        return [f"nncp-{verb}", "-quiet", "-cfg", f"{self.folder}/{node}.hjson", *args]

    def run(self, node, verb, *args):
        subprocess.run(self.command(node, verb, *args), check=True, capture_output=True)

    def call(self):
        """From the call until the other end has confirmed everything."""
        daemon = subprocess.Popen(
            self.command("b", "daemon", "-bind", f"127.0.0.1:{self.port}"),
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.7)
        outbox = f"{self.folder}/a/spool/{self.b}/tx"
        begun = time.time()
        call = subprocess.Popen(
            self.command("a", "call", "-onlinedeadline", "3", "b"), stderr=subprocess.DEVNULL
        )

        def sent():
            return not any(entry.is_file() for entry in os.scandir(outbox))

        until("the end of NNCP's call", sent, every=0.05)
        took = time.time() - begun
        end(call, daemon)
        return took


def nncp_big(folder, path):
    nncp = Nncp(folder)
    begun = time.time()
    nncp.run("a", "file", path, "b:big")
    queued = time.time() - begun
    called = nncp.call()
    begun = time.time()
    nncp.run("b", "toss")
    took = queued + called + time.time() - begun
    if subprocess.run(["cmp", "-s", path, f"{folder}/b/in/big"]).returncode:
        raise SystemExit("NNCP's file is not what was sent")
    return took


def nncp_small(folder, count, size):
    nncp = Nncp(folder)
    os.mkdir(folder + "/small")
    for n in range(count):
        open(f"{folder}/small/{n:06}", "wb").write(os.urandom(size))
    begun = time.time()
    for n in range(count):
        nncp.run("a", "file", f"{folder}/small/{n:06}", "b:")
    queued = time.time() - begun
    called = nncp.call()
    begun = time.time()
    nncp.run("b", "toss")
    live = called + time.time() - begun
    if len(os.listdir(folder + "/b/in")) != count:
        raise SystemExit("NNCP lost some")
    return queued, live


# ---- Syncthing -----------------------------------------------------------------------------------
class Syncthing:
    """One node with one folder, which knows nobody but whom it is told of."""

    def __init__(self, folder, name):
        self.home, self.sync = f"{folder}/{name}", f"{folder}/{name}-sync"
        self.api, self.port = free_port(), free_port()
        os.mkdir(self.sync)
        generate = ["syncthing", "generate", "--home", self.home, "--no-default-folder"]
        subprocess.run(generate, check=True, capture_output=True)
        config = open(self.home + "/config.xml").read()
        self.key = config.split("<apikey>")[1].split("</apikey>")[0]
        command = ["syncthing", "serve", "--home", self.home, "--no-browser", "--no-upgrade"]
        command += ["--no-restart", f"--gui-address=http://127.0.0.1:{self.api}"]
        environment = dict(os.environ, STNORESTART="1", STNOUPGRADE="1")
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        until("Syncthing's start", self.answers)
        self.id = self.ask("GET", "system/status")["myID"]
        self.ask(
            "PATCH",
            "config/options",
            dict(
                listenAddresses=[f"tcp://127.0.0.1:{self.port}"],
                globalAnnounceEnabled=False,
                localAnnounceEnabled=False,
                relaysEnabled=False,
                natEnabled=False,
                urAccepted=-1,
                crashReportingEnabled=False,
            ),
        )

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/rest/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.key},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def answers(self):
        try:
            return self.ask("GET", "system/ping")
        except OSError:
            return False

    def share(self, other):
        address = f"tcp://127.0.0.1:{other.port}"
        device = dict(deviceID=other.id, addresses=[address], compression="never")
        self.ask("PUT", f"config/devices/{other.id}", device)
        devices = [dict(deviceID=who) for who in (self.id, other.id)]
        folder = dict(id="bench", path=self.sync, devices=devices, fsWatcherEnabled=False)
        self.ask("PUT", "config/folders/bench", folder)

    def connected(self, other):
        connections = self.ask("GET", "system/connections")["connections"]
        return connections.get(other.id, {}).get("connected")


def syncthing_big(folder, path):
    a, b = Syncthing(folder, "a"), Syncthing(folder, "b")
    try:
        a.share(b)
        b.share(a)
        until("Syncthing's link", lambda: a.connected(b) and b.connected(a))
        time.sleep(2)
        # As a program that hands it over: a link instead of a copy.
        os.link(path, a.sync + "/big")
        begun = time.time()
        a.ask("POST", "db/scan?folder=bench")
        until("Syncthing's file", lambda: os.path.exists(b.sync + "/big"))
        took = time.time() - begun
    finally:
        end(a.process, b.process)
    if subprocess.run(["cmp", "-s", path, b.sync + "/big"]).returncode:
        raise SystemExit("Syncthing's file is not what was sent")
    return took


# ---- dtn7 ----------------------------------------------------------------------------------------
class Dtnd:
    """A node with the store that survives a restart."""

    def __init__(self, folder, name):
        self.name, self.folder = name, f"{folder}/{name}"
        self.web, self.port, self.process = free_port(), free_port(), None
        os.makedirs(self.folder)

    def start(self, *others):
        command = [os.environ["DTND"], "-4", "-n", self.name, "-W", self.folder]
        command += ["-w", str(self.web), "-r", "epidemic", "-D", "sled", "-e", "incoming"]
        command += ["-C", f"tcp:port={self.port}:bind=127.0.0.1", "--disable_nd", "-j", "1s"]
        command += ["-i", "0"]
        for other in others:
            command += ["-s", f"tcp://127.0.0.1:{other.port}/{other.name}"]
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        environment = dict(os.environ, RUST_LOG="error")
        self.process = subprocess.Popen(command, cwd=self.folder, env=environment, **quiet)
        until("dtnd's start", self.answers)
        self.link = http.client.HTTPConnection("127.0.0.1", self.web, timeout=PATIENCE_S)

    def answers(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=5)
            connection.request("GET", "/status/nodeid")
            return connection.getresponse().read()
        except OSError:
            return False

    def ask(self, method, path, body=None):
        self.link.request(method, path, body)
        answer = self.link.getresponse()
        return answer.status, answer.read()


def dtn7_small(folder, count, size):
    """Each bundle is handed over, and taken, by HTTP; the other end appears when all are there."""
    a, b = Dtnd(folder, "a"), Dtnd(folder, "b")
    try:
        a.start(b)
        begun = time.time()
        for _ in range(count):
            status, said = a.ask("POST", "/send?dst=dtn://b/incoming", os.urandom(size))
            if status != 200:
                raise SystemExit(f"dtn7 did not take a bundle: {said[:200]}")
        queued = time.time() - begun
        b.start(a)
        begun = time.time()
        have = lambda: b.ask("GET", "/status/bundles")[1].count(b"//a/") >= count
        until("the arrival of dtn7's bundles", have, every=0.05)
        live = time.time() - begun
    finally:
        end(*(node.process for node in (a, b) if node.process))
    return queued, live


BIG = {"nncp": nncp_big, "syncthing": syncthing_big}
SMALL = {"nncp": nncp_small, "dtn7": dtn7_small}
TOOLS = {"nncp": "nncp-call", "syncthing": "syncthing", "dtn7": os.environ.get("DTND") or "dtnd"}


def installed(cases):
    return [who for who in cases if shutil.which(TOOLS[who])]


def missing():
    return [who for who in TOOLS if not shutil.which(TOOLS[who])]
