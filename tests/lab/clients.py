#!/usr/bin/env python3
"""Programs of others at one modem of a pair without radios, our driver at the other: frames both ways.

    clients.py EXAMPLES meshtastic|rnode       EXAMPLES: where the programs `frames` and `modems` are

It runs with a Python that has that program (meshtastic, rns). What they agree on was written by neither of them
for the other: it is how the modems of the tests are known to be like real ones."""
import json, os, queue, subprocess, sys, tempfile, threading, time

EXAMPLES = sys.argv[1]
PATIENCE_S = 30
failed = 0
PAYLOAD = b"\x00\xc0\xdb\x94\xc3\xff and words"


def check(what, held):
    global failed
    print(f"{'ok   ' if held else 'FAIL '} {what}", flush=True)
    failed += not held


def until(is_so, within_s=PATIENCE_S):
    end = time.monotonic() + within_s
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


class Driver:
    """The program `frames` at one port."""

    def __init__(self, address):
        command = [EXAMPLES + "/frames", address]
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.program.stdout:
            self.told.put(json.loads(line))

    def send(self, frame):
        self.program.stdin.write(frame.hex() + "\n")
        self.program.stdin.flush()

    def next(self, what):
        """What is told of a kind; others before it are passed over."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                told = self.told.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                return None
            if what in told:
                return told[what]


def modems(kind, many):
    program = subprocess.Popen([EXAMPLES + "/modems", kind, str(many)], stdout=subprocess.PIPE, text=True)
    return program, [program.stdout.readline().strip() for _ in range(many)]


def meshtastic(at_tcp):
    import meshtastic.serial_interface
    import meshtastic.tcp_interface
    from pubsub import pub
    pair, (theirs, ours) = modems("meshtastic+tcp" if at_tcp else "meshtastic", 2)
    way = "TCP" if at_tcp else "a port"
    heard = []

    def on_packet(packet, interface):
        heard.append(packet["decoded"]["payload"])

    pub.subscribe(on_packet, "meshtastic.receive.data.PRIVATE_APP")
    try:
        driver = Driver(f"serial{'+tcp' if at_tcp else ''}://{ours}?driver=meshtastic")
        check(f"meshtastic over {way}: our driver takes the radio for one", bool(driver.next("ready")))
        if at_tcp:
            host, port = theirs.split(":")
            client = meshtastic.tcp_interface.TCPInterface(hostname=host, portNumber=int(port))
        else:
            client = meshtastic.serial_interface.SerialInterface(devPath=theirs)
        check(f"meshtastic over {way}: so does their client", client.myInfo.my_node_num == 0x1000)
        client.sendData(PAYLOAD, portNum=256, wantAck=False)
        check(f"meshtastic over {way}: what it sends is heard", driver.next("heard") == PAYLOAD.hex())
        driver.send(PAYLOAD[::-1])
        check(f"meshtastic over {way}: a frame of ours is sent", driver.next("sent") == 0)
        check(f"meshtastic over {way}: and it hears that", until(lambda: PAYLOAD[::-1] in heard))
        client.close()
    finally:
        pair.kill()


# A program of theirs: it announces itself, or says whether it learned of whom it is told.
PEER = """
import os, sys, time
import RNS
RNS.Reticulum(sys.argv[1])
if sys.argv[2] == "says":
    who = RNS.Destination(RNS.Identity(), RNS.Destination.IN, RNS.Destination.SINGLE, "lab", "frames")
    who.announce()
    print("hash " + who.hash.hex(), flush=True)
    time.sleep(2)
else:
    print("up", flush=True)
    who, end = bytes.fromhex(sys.stdin.readline()), time.time() + 30
    while time.time() < end and not RNS.Transport.has_path(who):
        time.sleep(0.1)
    print("knows" if RNS.Transport.has_path(who) else "knows nothing", flush=True)
os._exit(0)
"""
CONFIG = """[reticulum]
enable_transport = False
share_instance = No
[interfaces]
  [[lab]]
    type = RNodeInterface
    enabled = yes
    port = {port}
    frequency = 868100000
    bandwidth = 500000
    txpower = 7
    spreadingfactor = 7
    codingrate = 5
"""


def peer(folder, port, what):
    os.makedirs(folder)
    with open(folder + "/config", "w") as config:
        config.write(CONFIG.format(port=port))
    command = [sys.executable, "-c", PEER, folder, what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(program, start):
    for text in program.stdout:
        if text.startswith(start):
            return text.strip()
    return ""


def rnode():
    trio, (first, ours, last) = modems("rnode", 3)
    with tempfile.TemporaryDirectory() as folder:
        try:
            driver = Driver(f"serial://{ours}?driver=rnode&freq=868.1MHz&sf=7&bw=500")
            check("rnode: our driver takes the board for one", bool(driver.next("ready")))
            says = peer(folder + "/says", first, "says")
            who = line(says, "hash").removeprefix("hash ")
            check("rnode: so does theirs, and announces itself", bool(who))
            announced = driver.next("heard") or ""
            check("rnode: that is heard", who != "" and who in announced)
            says.wait()
            # Nobody who hears the last one has heard the first.
            hears = peer(folder + "/hears", last, "hears")
            check("rnode: another one of theirs is up", line(hears, "up") == "up")
            driver.send(bytes.fromhex(announced))
            check("rnode: what we send again is sent", driver.next("sent") == 0)
            hears.stdin.write(who + "\n")
            hears.stdin.flush()
            check("rnode: and it learns from our frame of whom it tells", line(hears, "knows") == "knows")
        finally:
            trio.kill()


if sys.argv[2] == "rnode":
    rnode()
else:
    meshtastic(at_tcp=False)
    meshtastic(at_tcp=True)
print("all held" if not failed else f"{failed} did not hold")
os._exit(failed != 0)
