"""The rule that lets users other than root open a stick."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["keep_rule"]

_FILE = "97-neural-compute-stick.rules"
_FOLDER = "/etc/udev/rules.d"
_RULE = (
    'SUBSYSTEM=="usb", ATTRS{idVendor}=="03e7", ATTRS{idProduct}=="%s", MODE="0666", '
    'GROUP="users", ENV{ID_MM_DEVICE_IGNORE}="1"\n'
)
_PRODUCTS = ("2485", "f63b")  # not booted, booted
_RELOAD = "sudo udevadm control --reload-rules && sudo udevadm trigger"


def keep_rule(folder: Path) -> str:
    """Write the rule into ``folder``, unless it is there. Returns the command that installs it.

    In a folder that this user may not write, which serves him as well, it may be missing: then the
    command brings the rule along.
    """
    path = folder / _FILE
    rules = "".join(_RULE % product for product in _PRODUCTS)
    try:
        if not path.exists() or path.read_text() != rules:
            path.write_text(rules)
    except OSError:
        lines = " ".join(map(shlex.quote, rules.splitlines()))
        return f"printf '%s\\n' {lines} | sudo tee {_FOLDER}/{_FILE} && {_RELOAD}"
    return f"sudo cp {path} {_FOLDER}/ && {_RELOAD}"
