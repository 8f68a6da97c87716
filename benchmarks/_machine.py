"""What a benchmark's figures depend on beside the code: the machine, its load, the versions."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

LOAD = os.getloadavg()[0]
BEGUN = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
PACKAGES = ("ray", "torch", "openvino", "onnx", "nni", "hyperopt", "numpy")


def machine() -> dict[str, object]:
    """For the JSON of a benchmark. Load is that of the minute before it: 0 on an idle machine."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(LOAD, 1),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "taken_at": BEGUN,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()
