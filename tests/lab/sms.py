"""Two telephones without a network, gammu at one and our driver at the other: what a modem must answer to satisfy a
program that knows many, and what that program makes of our messages.

    sms.py PROGRAM          the example `frames`
"""

import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import tty

HOME, AWAY = "+491700000001", "+491700000002"
FRAME = bytes(range(0, 130))


class Phone:
    """A modem with a card, on a pseudo terminal. It knows PDU mode alone."""

    def __init__(self, number, network):
        self.number, self.network, self.card, self.lock = number, network, {}, threading.RLock()
        network[number] = self
        self.far, self.near = pty.openpty()
        tty.setraw(self.near)
        self.name, self.pdu, self.echo = os.ttyname(self.near), None, True
        threading.Thread(target=self.run, daemon=True).start()

    def say(self, text):
        os.write(self.far, text.encode())

    def run(self):
        came = b""
        while True:
            came += os.read(self.far, 4096)
            while True:
                ends = b"\x1a\x1b" if self.pdu is not None else b"\r"
                at = min((came.find(bytes([end])) for end in ends if bytes([end]) in came), default=-1)
                if at < 0:
                    break
                line, came = came[:at].decode("latin1").strip("\r\n"), came[at + 1 :]
                self.command(line)

    def command(self, line):
        if self.pdu is not None:
            length, self.pdu = self.pdu, None
            if len(line) // 2 - 1 - int(line[:2], 16) != length:
                return self.say("\r\n+CMS ERROR: 304\r\n")
            self.send(bytes.fromhex(line))
            return self.say("\r\n+CMGS: 9\r\n\r\nOK\r\n")
        if self.echo:
            self.say(line + "\r")
        known = {
            "AT+CGMI": "\r\nPostrider\r\n", "AT+CGMM": "\r\nLab\r\n", "AT+CGMR": "\r\n1.0\r\n",
            "AT+CGSN": "\r\n490154203237518\r\n", "AT+CIMI": "\r\n262010000000001\r\n",
            "AT+CPIN?": "\r\n+CPIN: READY\r\n", "AT+CREG?": "\r\n+CREG: 0,1\r\n",
            "AT+CSCA?": '\r\n+CSCA: "+491710760000",145\r\n', "AT+CSCS?": '\r\n+CSCS: "GSM"\r\n',
            "AT+CSCS=?": '\r\n+CSCS: ("GSM","HEX","UCS2")\r\n', "AT+CMGF=?": "\r\n+CMGF: (0)\r\n",
            "AT+CPMS=?": '\r\n+CPMS: ("SM"),("SM"),("SM")\r\n',
            "AT+CNMI=?": "\r\n+CNMI: (0-2),(0-1),(0),(0),(0)\r\n",
        }
        storage = f'{len(self.card)},30,{len(self.card)},30,{len(self.card)},30'
        if line in ("ATE0", "ATE1"):
            self.echo = line == "ATE1"
            return self.say("\r\nOK\r\n")
        if line == "AT+CPMS?":
            return self.say('\r\n+CPMS: "SM",%d,30,"SM",%d,30,"SM",%d,30\r\n\r\nOK\r\n' % ((len(self.card),) * 3))
        if line.startswith('AT+CPMS="'):
            return self.say(f"\r\n+CPMS: {storage}\r\n\r\nOK\r\n")
        if line in known:
            return self.say(known[line] + "\r\nOK\r\n")
        if found := re.fullmatch(r"AT\+CMGS=(\d+)", line):
            self.pdu = int(found[1])
            return self.say("\r\n> ")
        if line == "AT+CMGL=4":
            with self.lock:
                listed = "".join(f"\r\n+CMGL: {at},1,,{len(pdu) - 1 - pdu[0]}\r\n{pdu.hex().upper()}"
                                 for at, pdu in sorted(self.card.items()))
            return self.say(listed + "\r\n\r\nOK\r\n")
        if found := re.fullmatch(r"AT\+CMGR=(\d+)", line):
            pdu = self.card.get(int(found[1]))
            if pdu is None:
                return self.say("\r\n+CMS ERROR: 321\r\n")
            return self.say(f"\r\n+CMGR: 1,,{len(pdu) - 1 - pdu[0]}\r\n{pdu.hex().upper()}\r\n\r\nOK\r\n")
        if found := re.fullmatch(r"AT\+CMGD=(\d+)", line):
            with self.lock:
                self.card.pop(int(found[1]), None)
            return self.say("\r\nOK\r\n")
        fine = line in ("AT", "ATZ", "AT+CFUN=1", "AT+CMGF=0") or line.startswith(("AT+CMEE=", "AT+CNMI=", "AT+CSCS=", "AT+CSMS="))
        return self.say("\r\nOK\r\n" if fine else "\r\nERROR\r\n")

    def send(self, pdu):
        """A DELIVER for whom a SUBMIT is for."""
        rest = pdu[1 + pdu[0] :]
        first, digits = rest[0], rest[2]
        number = rest[4 : 4 + (digits + 1) // 2]
        to = "+" + "".join(f"{byte & 15:x}{byte >> 4:x}" for byte in number).rstrip("f")
        rest = rest[4 + len(number) :]
        coding, data = rest[1], rest[{0x00: 2, 0x10: 3}[first & 0x18] :]
        mine = self.number[1:] + "f" * (len(self.number) % 2 == 0)
        swapped = bytes(int(mine[at + 1] + mine[at], 16) for at in range(0, len(mine), 2))
        head = bytes([0, 0x04 | first & 0x40, len(self.number) - 1, 0x91]) + swapped + bytes([0, coding])
        self.network[to].take(head + bytes.fromhex("62119221436580") + data)

    def take(self, pdu):
        with self.lock:
            at = next(at for at in range(1, 31) if at not in self.card)
            self.card[at] = pdu
        self.say(f'\r\n+CMTI: "SM",{at}\r\n')


def gammu(phone, *words):
    with tempfile.NamedTemporaryFile("w", suffix=".rc") as config:
        config.write(f"[gammu]\ndevice = {phone.name}\nconnection = at115200\n")
        config.flush()
        run = subprocess.run(["gammu", "-c", config.name, *words], capture_output=True, text=True, timeout=120)
    return run.stdout + run.stderr


class Driver:
    """Our driver at a telephone."""

    def __init__(self, program, phone, other):
        address = f"serial://{phone.name}?driver=at&profile=sms&number={other}"
        self.run = subprocess.Popen([program, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert "ready" in self.next(), "the driver does not open the telephone"

    def next(self):
        return json.loads(self.run.stdout.readline())

    def send(self, frame):
        self.run.stdin.write(frame.hex() + "\n")
        self.run.stdin.flush()


def main():
    network, fails = {}, 0
    home, away = Phone(HOME, network), Phone(AWAY, network)

    def check(what, holds):
        nonlocal fails
        fails += not holds
        print("ok   " if holds else "FAIL ", what, flush=True)

    driver = Driver(sys.argv[1], home, AWAY)
    shown = gammu(away, "identify")
    check("gammu takes the telephone for one", "Lab" in shown and "490154203237518" in shown)
    shown = gammu(away, "sendsms", "TEXT", HOME, "-text", "see you at six")
    check("gammu sends a person's words", "OK" in shown and len(home.card) == 1)
    driver.send(FRAME)
    told = driver.next()
    check("our driver sends a frame", "sent" in told)
    shown = gammu(away, "getallsms")
    check("gammu sees it as 8-bit data from our number", "8 bit" in shown and HOME in shown)
    check("it has a header that telephones show to nobody", "User UDH" in shown)
    other = Driver(sys.argv[1], away, HOME)
    heard = other.next()
    check("our driver hears the frame on the other card", heard.get("heard") == FRAME.hex())
    other.send(b"back")
    # The fate, then what was heard: in whichever order.
    check("and sends one back", "sent" in other.next() and driver.next().get("heard") == b"back".hex())
    check("the person's words are still on the card", any(b"\xf3\x72" in pdu for pdu in home.card.values()))
    for it in (driver, other):
        it.run.stdin.close()
        it.run.wait(20)
    return fails


if __name__ == "__main__":
    sys.exit(main())
