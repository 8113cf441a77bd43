#!/usr/bin/env python3
"""A disk with a volatile write cache: an NBD server on a Unix socket, over an image file.

    lossydisk.py SOCKET IMAGE [SEED]

Writes stay in the cache until the guest flushes. SIGUSR1 is a power cut: a random part of the
sectors that were not flushed reaches the image (so writes are lost, torn and reordered), and never
less than what was flushed. SIGTERM ends it cleanly.
"""
import os
import random
import signal
import socket
import struct
import sys
import threading

SECTOR = 512
# Of what was not flushed, how much survives a cut; one of these, by chance.
SURVIVORS = (0, 0.1, 0.5, 0.9)
# NBD: has flags, sends flush, FUA and trim.
FLAGS = 1 | 4 | 8 | 32


class Disk:
    def __init__(self, path, seed):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.cache = {}
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.flushes = 0

    def read(self, offset, length):
        with self.lock:
            found = bytearray(os.pread(self.file, length, offset))
            for n in range(offset // SECTOR, (offset + length + SECTOR - 1) // SECTOR):
                if n in self.cache:
                    at = n * SECTOR - offset
                    found[at:at + SECTOR] = self.cache[n]
            return bytes(found)

    def write(self, offset, data, through):
        with self.lock:
            first = offset // SECTOR
            for at in range(0, len(data), SECTOR):
                self.cache[first + at // SECTOR] = data[at:at + SECTOR]
            if through:
                self.keep(range(first, first + len(data) // SECTOR))

    def keep(self, sectors):
        for n in sectors:
            if n in self.cache:
                os.pwrite(self.file, self.cache.pop(n), n * SECTOR)

    def flush(self):
        with self.lock:
            self.keep(list(self.cache))
            self.flushes += 1

    def cut(self):
        with self.lock:
            waiting = list(self.cache)
            share = self.random.choice(SURVIVORS)
            kept = [n for n in waiting if self.random.random() < share]
            self.keep(kept)
            return (f"{len(waiting)} sectors not flushed, {len(kept)} of them survive; "
                    f"{self.flushes} flushes before")


def receive(connection, length):
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def negotiate(disk, connection):
    """The fixed newstyle handshake, as far as QEMU needs it; False when the client only asked."""
    connection.sendall(b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 3))
    receive(connection, 4)
    while True:
        _, option, length = struct.unpack(">8sII", receive(connection, 16))
        receive(connection, length)

        def reply(kind, data=b""):
            head = struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data))
            connection.sendall(head + data)

        if option == 1:  # EXPORT_NAME
            connection.sendall(struct.pack(">QH", disk.size, FLAGS))
            return True
        if option in (6, 7):  # INFO, GO
            reply(3, struct.pack(">HQH", 0, disk.size, FLAGS))
            reply(3, struct.pack(">HIII", 3, SECTOR, 4096, 1 << 25))
            reply(1)
            if option == 7:
                return True
        elif option == 2:  # ABORT
            reply(1)
            return False
        else:
            reply(0x80000001)


def serve(disk, connection):
    if not negotiate(disk, connection):
        return
    while True:
        head = receive(connection, 28)
        _, flags, command, handle, offset, length = struct.unpack(">IHHQQI", head)
        answer = b""
        if command == 0:
            answer = disk.read(offset, length)
        elif command == 1:
            disk.write(offset, receive(connection, length), flags & 1)
        elif command == 2:
            return
        elif command == 3:
            disk.flush()
        connection.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + answer)


def main():
    path, image = sys.argv[1:3]
    disk = Disk(image, sys.argv[3] if len(sys.argv) > 3 else None)
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen(4)

    def power_cut(*_):
        print(disk.cut(), flush=True)
        os._exit(0)

    def clean(*_):
        disk.flush()
        os._exit(0)

    signal.signal(signal.SIGUSR1, power_cut)
    signal.signal(signal.SIGTERM, clean)

    def one(connection):
        try:
            serve(disk, connection)
        except (EOFError, OSError):
            pass  # the virtual machine is gone

    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
