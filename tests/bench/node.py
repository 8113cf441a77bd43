"""A node of ours for the benchmarks: its home, its daemon, and its socket."""

import http.client
import json
import os
import queue
import socket
import subprocess
import threading
import time

PATIENCE_S = 600
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def process_cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("postrider", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


class Node:
    def __init__(self, folder, name):
        self.home, self.daemon, self.name = f"{folder}/{name}", None, name
        self.asking = None
        self.run("init", "--name", name)
        path = self.home + "/config.toml"
        settings = open(path).read()
        for key in ("media", "ygg", "outbox"):
            settings = settings.replace(f"{key} = true", f"{key} = false")
        open(path, "w").write(settings)

    def run(self, *args, input=None):
        command = [os.environ["POSTRIDER"], "--home", self.home, "--json", *args]
        done = subprocess.run(command, input=input, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name} {args}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def add(self, other):
        card = other.home + "/card-to-give"
        other.run("id", "--card", card)
        self.run("add", card)

    def start(self, *args):
        command = [os.environ["POSTRIDER"], "--home", self.home, "-q", "daemon", "--no-lan", *args]
        self.log = open(self.home + "/bench.log", "ab")
        self.daemon = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.until(lambda: os.path.exists(self.home + "/socket") and self.ask("status"), every=0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()

    def ask(self, verb, **fields):
        for again in (True, False):
            try:
                self.asking = self.asking or Connection(self.home + "/socket")
                self.asking.request("POST", "/v1/" + verb, json.dumps(fields))
                answer = self.asking.getresponse()
                said = answer.read().decode()
                break
            except OSError:
                self.asking = None
                if self.daemon.poll() is not None or not again:
                    return []
        if answer.status != 200:
            raise SystemExit(f"{self.name} {verb}: {said}")
        return [json.loads(line) for line in said.splitlines()]

    def events(self, what):
        """A queue of the times at which this happened."""
        stream = Connection(self.home + "/socket")
        stream.request("GET", "/v1/events")
        answer, heard = stream.getresponse(), queue.Queue()
        answer.readline()

        def listen():
            wanted = f'"what":"{what}"'.encode()
            try:
                while line := answer.readline():
                    if wanted in line:
                        heard.put(time.time())
            except (OSError, ValueError, AttributeError, http.client.HTTPException):
                pass

        threading.Thread(target=listen, daemon=True).start()
        return heard

    def address(self):
        return self.run("up")[0]["listening"][0]

    def until(self, is_so, every):
        end = time.time() + PATIENCE_S
        while not is_so():
            if self.daemon.poll() is not None:
                raise SystemExit(f"the daemon of {self.name} ended")
            if time.time() > end:
                raise SystemExit(f"{self.name}: it does not happen")
            time.sleep(every)

    def until_linked(self):
        self.until(lambda: any(peer.get("up") for peer in self.ask("peers")), every=0.01)

    def status(self, field):
        for line in open(f"/proc/{self.daemon.pid}/status"):
            if line.startswith(field + ":"):
                return int(line.split()[1])

    def cpu(self):
        return process_cpu(self.daemon.pid)


def acquainted(folder):
    a, b = Node(folder, "a"), Node(folder, "b")
    a.add(b)
    b.add(a)
    return a, b
