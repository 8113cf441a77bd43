#!/usr/bin/env python3
"""A slow line with delay and loss between two interfaces of one namespace, for kernels without netem.

    flakyline.py A B BITS_PER_S DELAY_MS LOSS_PERCENT

Frames that come in at one go out at the other, each way for itself: so many bits per second behind a
queue of 64 frames, then the delay. Where one of the ends has no carrier, whatever waits or is under way is
gone. Ends with SIGTERM and says then what it carried, by where it went out:
{"A": {"frames", "bytes", "lost", "full", "cut"}, "B": …}; the bytes are of all frames that used the line,
lost ones too, and not of those that found the queue full or waited in it when it was cut.
SEED=n makes the losses repeatable. TRACE=file has every frame written there, for flakybytes.py: when it had
left, where to, what became of it (came, lost, cut; full or waited: it did not use the line), its length and
how it begins. The ends must not hand out frames larger than the MTU: `offload off`
for each, which this does for its own two and, with `--offload-off NETNS IFACE`, for another."""
import ctypes, fcntl, heapq, json, os, random, select, signal, socket, struct, sys, time

ETH_P_ALL, PACKET_OUTGOING = 3, 4
QUEUE_FRAMES = 64
# How often it is looked whether the ends have a carrier.
LOOK_S = 0.05
# What a trace has of a frame: the headers of Ethernet, IP and TCP at their longest.
HEAD_BYTES = 96
# ETHTOOL_STSO, _SGSO, _SGRO, _STXCSUM, and the ioctl that takes them (linux/ethtool.h, linux/sockios.h).
OFFLOADS, SIOCETHTOOL = (0x1F, 0x24, 0x2C, 0x17), 0x8946
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
CLONE_NEWNET = 0x40000000


def offload_off(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for what in OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", what, 0))
            request = struct.pack("16sQ", interface.encode(), ctypes.addressof(value)) + b"\0" * 16
            try:
                fcntl.ioctl(any_socket, SIOCETHTOOL, request)
            except OSError:
                pass


class End:
    def __init__(self, name):
        self.name, self.waiting, self.busy = name, 0, 0.0
        self.count = dict(frames=0, bytes=0, lost=0, full=0, cut=0)
        offload_off(name)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((name, ETH_P_ALL))
        self.socket.setblocking(False)
        index = socket.if_nametoindex(name)
        everything = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        self.socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything)

    def carries(self):
        try:
            with open(f"/sys/class/net/{self.name}/carrier") as file:
                return file.read().strip() == "1"
        except OSError:
            return False

    def send(self, frame):
        self.count["frames"] += 1
        try:
            self.socket.send(frame)
        except OSError:
            self.count["cut"] += 1


def run(names, rate, delay_s, loss):
    chance = random.Random(int(os.environ.get("SEED", "0")) or None)
    ends = [End(name) for name in names]
    file = open(os.environ["TRACE"], "w") if os.environ.get("TRACE") else None

    def trace(at, there, fate, frame):
        if file:
            print(f"{at:.4f}", there.name, fate, len(frame), frame[:HEAD_BYTES].hex(), file=file)

    other = {ends[0].socket.fileno(): (ends[0], ends[1]), ends[1].socket.fileno(): (ends[1], ends[0])}
    under_way, number, going, up, look_at = [], 0, True, True, 0.0

    def stop(*_):
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    poll = select.epoll()
    for fd in other:
        poll.register(fd, select.EPOLLIN)
    print("ready", flush=True)
    while going:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else LOOK_S
        events = poll.poll(min(wait, LOOK_S))
        now = time.monotonic()
        if now >= look_at:
            look_at, up = now + LOOK_S, all(end.carries() for end in ends)
        if not up:
            for sent_at, _, there, frame in under_way:
                # What had left by then was sent in vain.
                there.count["cut"] += 1
                if sent_at - delay_s <= now:
                    there.count["bytes"] += len(frame)
                    trace(sent_at - delay_s, there, "cut", frame)
                else:
                    trace(now, there, "waited", frame)
            under_way.clear()
            for end in ends:
                end.waiting, end.busy = 0, now
        for fd, _ in events:
            here, there = other[fd]
            for _ in range(QUEUE_FRAMES):
                try:
                    frame, origin = here.socket.recvfrom(65536)
                except OSError:
                    break
                if origin[2] == PACKET_OUTGOING or not up:
                    continue
                if there.waiting >= QUEUE_FRAMES:
                    there.count["full"] += 1
                    trace(now, there, "full", frame)
                    continue
                there.busy = max(there.busy, time.monotonic()) + len(frame) * 8 / rate
                number, there.waiting = number + 1, there.waiting + 1
                heapq.heappush(under_way, (there.busy + delay_s, number, there, frame))
        while under_way and under_way[0][0] <= time.monotonic():
            sent_at, _, there, frame = heapq.heappop(under_way)
            there.waiting -= 1
            there.count["bytes"] += len(frame)
            # It used the line, and did not come.
            if chance.random() < loss:
                there.count["lost"] += 1
                trace(sent_at - delay_s, there, "lost", frame)
            else:
                there.send(frame)
                trace(sent_at - delay_s, there, "came", frame)
    print(json.dumps({end.name: end.count for end in ends}), flush=True)


def main(arguments):
    if arguments[:1] == ["--offload-off"]:
        space = os.open("/run/netns/" + arguments[1], os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        return offload_off(arguments[2])
    if len(arguments) != 5:
        sys.exit(__doc__)
    run(arguments[:2], float(arguments[2]), float(arguments[3]) / 1e3, float(arguments[4]) / 100)


main(sys.argv[1:])
