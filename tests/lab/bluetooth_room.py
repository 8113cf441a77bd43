"""Virtual machines in one room: controllers outside of them, at serial ports, and bumble's air between those.

For bluetooth_two.py, bluetooth_two_mail.py and bluetooth_strangers.py.
"""
import os
import shutil
import subprocess
import sys
import tempfile

import vm

BUMBLE = "bumble==0.0.236"


class Tagged:
    """A console whose lines say whose they are, and are kept."""

    def __init__(self, tag):
        self.tag, self.lines = tag, []

    def write(self, text):
        if text.strip():
            sys.stdout.write(f"{self.tag} {text}\n")
        self.lines += text.split("\n")

    def flush(self):
        sys.stdout.flush()


class Room:
    """`with Room(controllers)`: machines that it started, and the air, end with it."""

    def __init__(self, controllers):
        if os.getuid() != 0:
            skip("root is needed to build the virtual machine")
        if subprocess.run([vm.HERE + "/vm_build.sh"]).returncode:
            skip("the virtual machine could not be built")
        self.controllers, self.python, self.machines = controllers, bumble(), []
        self.scratch = tempfile.mkdtemp(prefix="postrider-air-")
        self.put = [vm.HERE + "/bluetooth_setup.sh"]

    def __enter__(self):
        words = [self.python, vm.HERE + "/bluetooth_air.py", self.scratch, str(self.controllers)]
        self.air = subprocess.Popen(words, stdout=subprocess.PIPE)
        self.air.stdout.readline()
        return self

    def __exit__(self, *_):
        for machine in self.machines:
            if machine.process and machine.process.poll() is None:
                machine.kill()
                machine.wait()
        self.air.kill()
        self.air.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def bring(self, built, name):
        """A program, stripped."""
        self.put.append(f"{self.scratch}/{name}")
        subprocess.run(["strip", "-o", self.put[-1], built], check=True)
        return self.put[-1]

    def friends(self, postrider, who):
        """Homes of nodes that know each other; `who` has the adapters of each that it may use, or nothing."""
        homes = {name: f"{self.scratch}/{name}" for name in who}
        for name, home in homes.items():
            subprocess.run([postrider, "-q", "--home", home, "init", "--name", name], check=True, stdout=subprocess.DEVNULL)
            if who[name]:
                with open(home + "/config.toml", "a") as config:
                    config.write(f'\n[bluetooth]\nprofile = "quick"\nadapters = ["{who[name]}"]\n')
        for name, home in homes.items():
            card = subprocess.run([postrider, "-q", "--home", home, "id", "--card", "-"], check=True, capture_output=True).stdout
            for other in homes.values():
                if other != home:
                    subprocess.run([postrider, "-q", "--home", other, "add", "-"], input=card, check=True, stdout=subprocess.DEVNULL)
        self.put += homes.values()

    def machine(self, script, controllers, timeout, console=sys.stdout):
        """Starts one that has these controllers."""
        logs = os.environ.get("LOGS")
        machine = vm.VM(script, put=self.put, timeout=timeout, console=console, air=self.scratch + "/air",
                        uarts=[f"{self.scratch}/{n}" for n in controllers],
                        out=logs and f"{logs}/{len(self.machines)}")
        self.machines.append(machine)
        machine.start()
        return machine


def skip(why):
    print("skipped:", why)
    sys.exit(0)


def bumble():
    """A Python that has it."""
    folder = vm.CACHE + "/bumble"
    if not os.path.exists(folder + "/ok"):
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([folder + "/bin/pip", "-q", "install", BUMBLE], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            skip(f"{BUMBLE} cannot be installed: {error}")
        open(folder + "/ok", "w").close()
    return folder + "/bin/python"


def end(status):
    print("all held" if status == 0 else "something did not hold")
    sys.exit(1 if status else 0)
