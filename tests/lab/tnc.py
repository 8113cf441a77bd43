#!/usr/bin/env python3
"""Two real packet radio modems (Direwolf) on one simulated channel, spoken to by the kiss driver.

    tnc.py FRAMES [1200 9600 mail]  FRAMES: the example program `frames`
    POSTRIDER=binary                for mail: a text between two daemons over 1200 bit/s, and its receipt
    NOISE=0.01                      its rms as a share of full scale; 9600 breaks up near 0.3, 1200 holds at 0.4

Each modem plays into a fifo (ALSA's "file" over its null device); this program mixes what the others play with
noise and feeds that to each modem's standard input in real time: half duplex, real carrier sense, real
collisions, no sound card. What must hold: frames of any bytes arrive both ways, frames of others are not
heard, a modem that ends is noticed. The figures are those of the driver, frame by frame."""
import array, fcntl, json, multiprocessing, os, queue, random, shutil, signal, socket, subprocess, sys
import tempfile, threading, time

RATE, TICK_S = 48_000, 0.02
TICK_BYTES = int(RATE * TICK_S) * 2
NOISE = float(os.environ.get("NOISE", "0.01"))
PATIENCE_S = 30
SET = "txdelay=100&tail=20&persist=255&slot=10"
# Where both want to send: one waits for the other. Not alike, since all Direwolfs draw the same random numbers.
SHARED = ["txdelay=100&tail=20&persist=63&slot=70", "txdelay=100&tail=20&persist=63&slot=110"]
failed = 0


def free_port():
    # Direwolf takes none of those that the system would choose.
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def air(folder, modem, ports):
    """The channel and its modems, until somebody ends this process."""
    rng = random.Random(1)
    gauss = (max(-32768, min(32767, int(rng.gauss(0, NOISE * 32767)))) for _ in range(RATE * 2))
    noise = array.array("h", gauss).tobytes()
    with open(folder + "/.asoundrc", "w") as config:
        for n in range(len(ports)):
            config.write(f'pcm.air{n} {{ type file; slave.pcm "null"; file "{folder}/fifo{n}"; format "raw" }}\n')
    plays, modems = [], []
    for n, port in enumerate(ports):
        os.mkfifo(f"{folder}/fifo{n}")
        plays.append(os.open(f"{folder}/fifo{n}", os.O_RDWR | os.O_NONBLOCK))
        with open(f"{folder}/{n}.conf", "w") as config:
            config.write(f"ADEVICE stdin air{n}\nARATE {RATE}\nCHANNEL 0\nMYCALL LAB{n}\nMODEM {modem}\n"
                         f"KISSPORT {port}\nAGWPORT 0\n")
        command = ["direwolf", "-t", "0", "-q", "dh", "-c", f"{folder}/{n}.conf"]
        log = open(f"{folder}/{n}.log", "wb")
        modems.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                                       env=dict(os.environ, HOME=folder)))
        fcntl.fcntl(modems[n].stdin.fileno(), fcntl.F_SETPIPE_SZ, 16384)

    def end(*_):
        for one in modems:
            one.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    played, next_at = [bytearray() for _ in plays], time.monotonic()
    while all(one.poll() is None for one in modems):
        tick = []
        for fifo, sound in zip(plays, played):
            try:
                sound += os.read(fifo, 65536)
            except BlockingIOError:
                pass
            tick.append(bytes(sound[:TICK_BYTES]).ljust(TICK_BYTES, b"\0") if sound else None)
            del sound[:TICK_BYTES]
        for n, one in enumerate(modems):
            if tick[n] is not None:
                heard = bytes(TICK_BYTES)  # deaf while it sends
            else:
                at = rng.randrange(RATE) * 2
                heard = noise[at:at + TICK_BYTES]
                for sound in (tick[m] for m in range(len(tick)) if m != n and tick[m] is not None):
                    both = zip(array.array("h", heard), array.array("h", sound))
                    mixed = (max(-32768, min(32767, u + v * 7 // 10)) for u, v in both)
                    heard = array.array("h", mixed).tobytes()
            try:
                one.stdin.write(heard)
                one.stdin.flush()
            except BrokenPipeError:
                end()
        next_at += TICK_S
        time.sleep(max(0, next_at - time.monotonic()))
        next_at = max(next_at, time.monotonic() - 1)
    end()


class Driver:
    """The program `frames` at one port."""

    def __init__(self, program, address):
        self.program = subprocess.Popen([program, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told, self.all = queue.Queue(), []
        threading.Thread(target=self.listen, daemon=True).start()
        self.facts = self.next("ready")["ready"]

    def listen(self):
        for line in self.program.stdout:
            self.all.append(dict(json.loads(line), at=time.monotonic()))
            self.told.put(self.all[-1])

    def send(self, *frames):
        for frame in frames:
            self.program.stdin.write(frame.hex() + "\n")
        self.program.stdin.flush()

    def next(self, what, within_s=PATIENCE_S):
        """The next that is told of a kind; others before it are passed over."""
        end = time.monotonic() + within_s
        while True:
            try:
                told = self.told.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                return None
            if what in told:
                return told

    def close(self):
        self.program.kill()
        self.program.wait()


def check(what, held):
    global failed
    print(f"{'ok   ' if held else 'FAIL '} {what}", flush=True)
    failed += not held


def wait_for(port):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"no modem came up at {port}")


def goodput(sender, listener, frames):
    """Bits per second from the first frame given to the last one heard, how many were heard, and how much later
    than the driver said a frame was there."""
    begun, heard, lag = time.monotonic(), 0, []
    sender.send(*frames)
    for frame in frames:
        sent = sender.next("sent")
        came = listener.next("heard", 5)
        if came and bytes.fromhex(came["heard"]) == frame:
            heard, last = heard + 1, came["at"]
            lag.append(came["at"] - sent["at"])
    if not heard:
        return 0, 0, 0
    return heard * len(frame) * 8 / (last - begun), heard, sum(lag) / len(lag)


def both_at_once(one, other, many):
    """How many frames of each are heard at the other, and within which time, where both always have one to send."""
    begun = time.monotonic()
    one.send(*many)
    other.send(*many)
    for driver in (one, other):
        while (told := driver.next("sent", 120)) and told["sent"] != len(many) - 1:
            pass
    time.sleep(5)
    for driver in (one, other):
        driver.told.queue.clear()
    came = [[told["at"] for told in driver.all if "heard" in told] for driver in (other, one)]
    return [len(heard) for heard in came], max(came[0] + came[1], default=begun) - begun


def trial(program, modem):
    folder, ports = tempfile.mkdtemp(), [free_port(), free_port()]
    channel = multiprocessing.Process(target=air, args=(folder, modem, ports))
    channel.start()
    drivers = []

    def driver(n, options, how=SET):
        drivers.append(Driver(program, f"kiss+tcp://127.0.0.1:{ports[n]}?{options}&air={modem}&{how}"))
        return drivers[-1]

    try:
        for port in ports:
            wait_for(port)
        one, other = driver(0, "call=DL1ABC-7"), driver(1, "call=DB0XYZ")
        any_bytes = bytes(range(256))
        for sender, listener, way in ((one, other, "there"), (other, one, "back")):
            sender.send(any_bytes)
            told = sender.next("sent")
            came = listener.next("heard", 10)
            held = bool(told and came) and came["heard"] == any_bytes.hex()
            check(f"{modem}: a frame of every byte goes {way}", held)
        many = [random.Random(n).randbytes(256) for n in range(6 if modem == "1200" else 24)]
        for sender, listener, way in ((one, other, "there"), (other, one, "back")):
            rate, heard, lag = goodput(sender, listener, many)
            check(f"{modem}: {heard} of {len(many)} frames of 256 bytes {way}", heard == len(many))
            print(f"      goodput {rate:.0f} bit/s, {100 * rate / int(modem):.0f} % of the air; a frame is heard "
                  f"{1000 * lag:+.0f} ms from when it is told to have gone", flush=True)
        drivers[0].close()
        drivers[1].close()
        one, other = driver(0, "call=DL1ABC-7", SHARED[0]), driver(1, "call=DB0XYZ", SHARED[1])
        heard, within_s = both_at_once(one, other, many)
        # How often both begin at the same moment is for chance: a third passes in any case.
        check(f"{modem}: both at once, {heard[0]} and {heard[1]} of {len(many)}", 3 * sum(heard) >= 2 * len(many))
        print(f"      {sum(heard) * 256 * 8 / max(within_s, 1):.0f} bit/s together", flush=True)
        stranger, ear = driver(0, "raw=yes"), driver(1, "raw=yes")
        beacon = bytes([b << 1 for b in b"APRS  "] + [0xe0] + [b << 1 for b in b"DL9XYZ"] + [0x61]) + b"\x03\xf0>hello"
        stranger.send(beacon)
        is_heard = ear.next("heard", 10)
        check(f"{modem}: somebody else's frame is on the air", bool(is_heard) and is_heard["heard"] == beacon.hex())
        check(f"{modem}: and is not taken for ours", other.next("heard", 0.5) is None)
        channel.terminate()
        ended = one.next("ended", 10)
        check(f"{modem}: a modem that ends is noticed", bool(ended))
    finally:
        for one in drivers:
            one.close()
        channel.terminate()
        channel.join()
        shutil.rmtree(folder, ignore_errors=True)


class Node:
    """A daemon at a modem."""

    def __init__(self, folder, name):
        self.home, self.name, self.daemon = f"{folder}/{name}", name, None
        self.run("init", "--name", name)
        self.run("id", "--card", self.home + ".card")

    def run(self, *args):
        command = [os.environ["POSTRIDER"], "--home", self.home, *args]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def start(self, port, call, slot):
        # Sealed mail over a simulated channel: on the air of radio amateurs nothing may be enciphered.
        uri = f"kiss+tcp://127.0.0.1:{port}?call={call}&clear=no&txdelay=200&tail=20&persist=63&slot={slot}"
        command = [os.environ["POSTRIDER"], "--home", self.home, "-q", "daemon", "--no-lan", "--peer", uri]
        with open(self.home + ".log", "wb") as log:
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log)


def mail():
    folder, ports = tempfile.mkdtemp(), [free_port(), free_port()]
    channel = multiprocessing.Process(target=air, args=(folder, "1200", ports))
    channel.start()
    alice, bob = nodes = Node(folder, "Alice"), Node(folder, "Bob")
    try:
        for one, other, port, call, slot in zip(nodes, nodes[::-1], ports, ("DL1ABC-7", "DB0XYZ"), (70, 110)):
            wait_for(port)
            one.run("add", other.home + ".card")
            one.start(port, call, slot)
        for node in nodes:
            until(lambda: "radio: a radio" in node.run("status"))
        begun = time.monotonic()
        alice.run("send", "Bob", "the water is above the bridge")
        check("mail: a text arrives", until(lambda: "the water" in bob.run("inbox")))
        came_s = time.monotonic() - begun
        check("mail: and its receipt", until(lambda: "Nothing waits" in alice.run("queue")))
        print(f"      after {came_s:.1f} s, and {time.monotonic() - begun:.1f} s", flush=True)
    finally:
        for node in nodes:
            if node.daemon:
                node.daemon.terminate()
                node.daemon.wait()
        channel.terminate()
        channel.join()
        shutil.rmtree(folder, ignore_errors=True)


def until(is_so, within_s=60):
    end = time.monotonic() + within_s
    while not is_so() and time.monotonic() < end:
        time.sleep(0.1)
    return is_so()


def main():
    program, modems = sys.argv[1], sys.argv[2:] or ["1200", "9600", "mail"]
    for modem in modems:
        mail() if modem == "mail" else trial(program, modem)
    print("all held" if not failed else f"{failed} did not hold")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
