"""What is special to a Neural Compute Stick 2: its names, its states on the bus, how to boot it."""

import os

VENDOR = "03e7"
BOOTED = "f63b"
"""Its USB product once it runs the plugin's firmware; it shows as another device then, on the bus
of USB 3 if it is plugged into one."""

NOTHING = b"""<net name="nothing" version="10"><layers>
<layer id="0" name="in" type="Parameter" version="opset1"><data element_type="f16" shape="1,16"/>
<output><port id="0" precision="FP16"><dim>1</dim><dim>16</dim></port></output></layer>
<layer id="1" name="relu" type="ReLU" version="opset1">
<input><port id="0"><dim>1</dim><dim>16</dim></port></input>
<output><port id="1" precision="FP16"><dim>1</dim><dim>16</dim></port></output></layer>
<layer id="2" name="out" type="Result" version="opset1">
<input><port id="0"><dim>1</dim><dim>16</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="2" to-port="0"/></edges></net>"""
"""The network that a stick is booted with."""


def stick_id(listed, folders):
    """Which of the ``listed`` sticks (``"1.3.2-ma2480"``) shows in one of these sysfs folders.

    The plugin's names are the USB path with the bus in front, or, as some builds have it, without:
    ``"1.4"`` may be port 4 of bus 1, or port 1.4 of another. So where one names a stick with its
    bus, all are read that way.
    """
    paths = [os.path.basename(folder).replace("-", ".") for folder in folders]
    names = {name: name.partition("-")[0] for name in listed}
    sticks = os.path.dirname(folders[0])
    with_bus = any(
        is_stick(os.path.join(sticks, each.replace(".", "-", 1))) for each in names.values()
    )
    for wanted in (paths, [] if with_bus else [path.partition(".")[2] for path in paths]):
        found = [name for name in listed if names[name] in wanted]
        if len(found) == 1:
            return found[0]
    raise RuntimeError(
        "no stick at USB {}: OpenVINO lists {}".format(" or ".join(paths), sorted(listed) or "none")
    )


def is_stick(folder):
    """Whether a stick shows in this sysfs folder."""
    try:
        with open(os.path.join(folder, "idVendor")) as file:
            return file.read().strip() == VENDOR
    except OSError:
        return False


def usb_mbps(folders):
    """Speed of the booted stick that shows in one of these sysfs folders; None if none does."""
    for folder in folders:
        try:
            with open(os.path.join(folder, "idProduct")) as file:
                product = file.read().strip()
            with open(os.path.join(folder, "speed")) as file:
                speed = float(file.read())
        except (OSError, ValueError):
            continue
        if product == BOOTED:
            return int(speed)
    return None
