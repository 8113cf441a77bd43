#!/usr/bin/env python3
"""Boots the virtual machine of vm_build.sh, runs one script in it as root, returns its exit status.

    vm.py [--put FILE[:NAME]]... [--out DIR] [--timeout S] [--uart SOCKET]... SCRIPT
                                                  the console goes to stdout

--put copies a file or directory into the guest's /lab; --out copies the guest's /lab/out back;
--uart is a serial port (the first is /dev/ttyS4) whose other end listens at a Unix socket.
In the script, "lab-host WORDS" asks for something outside and waits for it:
    usb-add ID IMAGE [ro]    plugs in a USB stick        usb-del ID    pulls it out, without warning
    sh COMMAND               runs a command on the host, in the machine's scratch folder
    air WORDS                tells whatever is VM.air, a Unix socket of datagrams (bluetooth_air.py)
To import: VM(script, ...).start(), .wait(), .kill(); a kill is a power cut.
"""
import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("LAB_CACHE", os.path.expanduser("~/.cache/postrider-lab"))
# Statuses of our own: the power was cut; the script never ended.
CUT, NO_END, TIMED_OUT = 99, 125, 124


class VM:
    def __init__(self, script, put=(), out=None, drives=(), timeout=300, console=sys.stdout,
                 uarts=(), air=None):
        self.out, self.drives, self.timeout, self.console = out, drives, timeout, console
        self.uarts, self.air = uarts, air
        self.status, self.cut, self.process = None, False, None
        self.folder = tempfile.mkdtemp(prefix="postrider-vm-")
        self.share = self.folder + "/share"
        os.makedirs(self.share + "/out")
        text = open(script).read() if os.path.exists(script) else script
        with open(self.share + "/run.sh", "w") as file:
            file.write(text)
        for item in put:
            source, _, name = item.partition(":")
            target = os.path.join(self.share, name or os.path.basename(source))
            if os.path.isdir(source):
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)

    def command(self):
        environment = dict(os.environ)
        program = "qemu-system-x86_64"
        if not os.path.exists(CACHE + "/qemu/use-system"):
            program = CACHE + "/qemu/usr/bin/qemu-system-x86_64"
            libraries = [CACHE + "/qemu" + d + "/lib/x86_64-linux-gnu" for d in ("/usr", "")]
            environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        # Emulated: a /dev/kvm inside of a virtual machine seldom runs a distribution's kernel.
        words = f"""{program} -accel tcg,thread=multi -M pc -m 768 -smp 1 -nodefaults
            -no-user-config -display none -serial stdio -no-reboot
            -qmp unix:{self.folder}/qmp,server=on,wait=off
            -kernel {CACHE}/vmlinuz -initrd {CACHE}/initrd.gz
            -drive file={CACHE}/root.img,format=raw,if=none,id=root,snapshot=on,cache=unsafe
            -device virtio-blk-pci,drive=root
            -virtfs local,path={self.share},mount_tag=lab,security_model=none,multidevs=remap
            -device qemu-xhci,id=xhci,p2=8,p3=8 -device virtio-rng-pci"""
        kernel = "console=ttyS0 quiet mitigations=off nokaslr tsc=reliable random.trust_cpu=on panic=-1"
        kernel += " 8250.nr_uarts=8" if self.uarts else ""
        command = shlex.split(words) + ["-append", kernel]
        for n, drive in enumerate(self.drives):
            command += ["-drive", f"{drive},format=raw,if=none,id=d{n},cache=none"]
            command += ["-device", f"virtio-blk-pci,drive=d{n}"]
        for n, uart in enumerate(self.uarts):
            command += ["-chardev", f"socket,id=s{n},path={uart},reconnect=1"]
            command += ["-device", f"pci-serial,chardev=s{n}"]
        return command, environment

    def monitor(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.folder + "/qmp")
            stream = s.makefile("rw")
            stream.readline()
            for name, given in (("qmp_capabilities", {}), (command, arguments)):
                stream.write(json.dumps({"execute": name, "arguments": given}))
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "return" in answer or "error" in answer:
                        break
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            return answer["return"]

    def host(self, request, *words):
        if request == "usb-add":
            name, image, *mode = words
            drive = f"file={image},format=raw,if=none,id=u-{name}"
            drive += ",read-only=on" if mode == ["ro"] else ""
            said = self.monitor("human-monitor-command", **{"command-line": f"drive_add 0 {drive}"})
            if said.strip() not in ("", "OK"):
                raise RuntimeError(said.strip())
            self.monitor("device_add", driver="usb-storage", id=name, drive="u-" + name,
                         bus="xhci.0", serial="LAB" + name)
        elif request == "usb-del":
            self.monitor("device_del", id=words[0])
        elif request == "sh":
            done = subprocess.run(["bash", "-c", " ".join(words)], cwd=self.folder,
                                  stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise RuntimeError(f"exit status {done.returncode}: {done.stdout}")
            return done.stdout
        elif request == "air":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.sendto(" ".join(words).encode(), self.air)
        else:
            raise RuntimeError("unknown request " + request)

    def read_console(self):
        for raw in self.process.stdout:
            if not raw.endswith(b"\n"):
                continue  # cut off by the end of the machine: nobody said this
            line = raw.decode(errors="replace").rstrip("\r\n")
            words = line[line.index("@@"):].split() if "@@" in line else [""]
            if words[0] == "@@rc":
                self.status = int(words[1])
            elif words[0] == "@@do":
                self.answer(words[1], words[2:])
            elif words[0] != "@@up" and self.console:
                print(line, file=self.console, flush=True)

    def answer(self, path, request):
        try:
            text = "ok " + str(self.host(*request) or "")
        except Exception as error:
            text = "no " + str(error)
        answer = self.share + "/" + os.path.basename(path)
        with open(answer + ".new", "w") as file:
            file.write(text + "\n")
        os.rename(answer + ".new", answer)

    def start(self):
        self.began = time.time()
        command, environment = self.command()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env=environment)
        self.reader = threading.Thread(target=self.read_console, daemon=True)
        self.reader.start()
        return self

    def wait(self):
        try:
            self.process.wait(self.timeout - (time.time() - self.began))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.status = TIMED_OUT
        self.reader.join(5)
        if self.out:
            shutil.copytree(self.share + "/out", self.out, dirs_exist_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return CUT if self.cut else NO_END if self.status is None else self.status

    def kill(self):
        """A power cut: nothing inside is flushed."""
        self.cut = True
        self.process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--put", action="append", default=[])
    parser.add_argument("--uart", action="append", default=[])
    parser.add_argument("--out")
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("script")
    arguments = parser.parse_args()
    subprocess.run([HERE + "/vm_build.sh"], check=True)
    vm = VM(arguments.script, arguments.put, arguments.out, timeout=arguments.timeout,
            uarts=arguments.uart).start()
    signal.signal(signal.SIGTERM, lambda *_: vm.kill())
    sys.exit(vm.wait())


if __name__ == "__main__":
    main()
