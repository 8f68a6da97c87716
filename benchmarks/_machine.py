"""What a benchmark's figures depend on beside the code: the machine, its load, the versions."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

LOAD = os.getloadavg()[0]
BEGUN = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
PACKAGES = (
    *("raytune-edge", "ray", "torch", "torchvision", "nni", "torch-pruning", "onnx", "onnxruntime"),
    *("openvino", "hyperopt", "optuna", "numpy"),
)
WRITTEN = (":!benchmarks/results", ":!benchmarks/RESULTS.md", ":!docs/images")
"""What benchmarks write into the checkout is no change of what they measure."""


def machine() -> dict[str, object]:
    """For the JSON of a benchmark. Load is that of the minute before it: 0 on an idle machine."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(LOAD, 1),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "taken_at": BEGUN,
    }


def _commit() -> str:
    """The checkout's, with a mark if code differs from it; "" outside of one."""
    commit = _git("rev-parse", "--short", "HEAD").stdout.strip()
    changed = commit and _git("diff", "--quiet", "HEAD", "--", ".", *WRITTEN).returncode
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=root)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()
