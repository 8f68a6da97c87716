"""A stick that isn't there: folders like the kernel's, which change as those of a real stick would.

Run as a script it is the firmware, which outlives the process that booted it: once nobody talks to
the stick any more, it is back in its boot loader.
"""

import os
import subprocess
import sys
import time

LOOK_S = 0.02


def turn(folders, booted):
    """Let the stick show as booted or not; False if it isn't on the bus."""
    there = [folder for folder in folders if os.path.isdir(folder)]
    if not there:
        return False
    wanted = folders[-1] if booted else folders[0]
    shown = {
        "idProduct": "f63b" if booted else "2485",
        "speed": "5000" if booted else "480",
        "busnum": os.path.basename(wanted).split("-")[0],
    }
    for name, text in shown.items():
        with open(os.path.join(there[0], name), "w") as file:
            file.write(text + "\n")
    port = os.path.join(there[0], "port")
    os.remove(port)
    os.symlink(os.path.join(wanted + ".socket", os.listdir(wanted + ".socket")[0]), port)
    os.rename(there[0], wanted)
    return True


def away(folders):
    """Where the stick's folder is while the stick is off the bus."""
    return folders[0].replace("/devices/", "/away-")


class FakeStick:
    """A stick as the process that opened it has it."""

    def __init__(self, folders, reboot_s):
        self.folders = folders
        self.reboot_s = reboot_s
        self.firmware = None

    def boot(self):
        """Open it."""
        if self.firmware is None:
            if not turn(self.folders, booted=True):
                raise RuntimeError("Can not init Myriad device: NC_ERROR (scripted)")
            script = [sys.executable, "-S", os.path.abspath(__file__)]
            self.firmware = subprocess.Popen(
                [*script, str(os.getpid()), str(self.reboot_s), *self.folders],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self):
        """Let it go."""
        if self.firmware is not None and turn(self.folders, booted=False):
            self.hang_up()

    def hang_up(self):
        """End the firmware: from now on, the stick stays as it is."""
        self.firmware.kill()
        self.firmware.wait()

    def leave(self):
        """Leave the bus."""
        os.rename(self.folders[-1], away(self.folders))


def run(booted_by, reboot_s, folders):
    """Wait until the process that booted the stick is gone, and bring it back."""
    while os.getppid() == booted_by:
        time.sleep(LOOK_S)
    time.sleep(reboot_s)
    if os.path.isdir(away(folders)):
        os.rename(away(folders), folders[0])
    turn(folders, booted=False)


if __name__ == "__main__":
    run(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
