"""What the search ran on and what energy it took, kept beside Tune's own files."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import Callback

from raytune_edge.analysis.experiment import RUN_RECORD

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["Rapl", "RunRecordCallback"]

logger = logging.getLogger(__name__)

_PACKAGES = ("raytune-edge", "ray", "torch", "nni", "onnx", "openvino", "hyperopt", "wandb")
_SAMPLE_S = 60.0


class RunRecordCallback(Callback):  # type: ignore[misc]
    """Write ``run_record.json`` into the experiment's folder when it ends; the report reads it.

    It tells versions, the driver's machine, the cluster's nodes and, where the kernel lets this
    user read it (RAPL), the energy that the driver's processors took meanwhile, whatever else they
    did. A restored experiment adds to the energy of its earlier sessions.
    """

    def __init__(self, *, powercap: str | os.PathLike[str] = "/sys/class/powercap") -> None:
        self._rapl = Rapl(powercap)
        self._began = self._sampled_at = time.time()

    def setup(self, *args: Any, **info: Any) -> None:
        """Begin to count."""
        self._began = self._sampled_at = time.time()
        self._rapl.begin()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Read the energy counters before they can overflow twice."""
        if time.time() - self._sampled_at >= _SAMPLE_S:
            self._sampled_at = time.time()
            self._rapl.sample()

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Write the record."""
        if not trials or trials[0].storage is None:
            return
        self._rapl.sample()
        storage = trials[0].storage
        path = Path(storage.experiment_fs_path, RUN_RECORD).as_posix()
        filesystem = storage.storage_filesystem
        try:
            record = _merged(self._record(), _read(filesystem, path))
            with filesystem.open_output_stream(path) as file:
                file.write(json.dumps(record, indent=2).encode())
        except OSError as error:
            logger.warning("%s was not written: %s", RUN_RECORD, error)

    def _record(self) -> dict[str, Any]:
        return {
            "sessions": [{"began_at": self._began, "ended_at": time.time()}],
            "energy_j": self._rapl.joules,
            "python": platform.python_version(),
            "system": platform.platform(),
            "versions": {name: _version(name) for name in _PACKAGES},
            "nodes": [
                {"host": node["NodeManagerHostname"], "resources": _plain(node["Resources"])}
                for node in ray.nodes()  # type: ignore[no-untyped-call]
                if node["Alive"]
            ],
        }


class Rapl:
    """Joules that the processors of this machine took, by package, since `begin`.

    ``joules`` is empty where there is no counter that this user can read.
    """

    def __init__(self, powercap: str | os.PathLike[str]) -> None:
        self._powercap = str(powercap)
        self._last: dict[str, int] = {}
        self.joules: dict[str, float] = {}

    def begin(self) -> None:
        """Count from now."""
        self._last = self._counters()
        self.joules = dict.fromkeys(self._last, 0.0)

    def sample(self) -> None:
        """Add what was taken since the last look; a counter that began again is told by its range.

        Source: Linux, Documentation/power/powercap/powercap.rst.
        """
        now = self._counters()
        for name in now.keys() & self._last.keys():
            taken = now[name] - self._last[name]
            if taken < 0:
                taken += self._read(name, "max_energy_range_uj") or 0
            self.joules[name] += max(taken, 0) / 1e6
        self._last |= now

    def _counters(self) -> dict[str, int]:
        # Domains such as intel-rapl:0:1 are parts of intel-rapl:0.
        names = [path.name for path in Path(self._powercap).glob("*-rapl:*")]
        read = {name: self._read(name, "energy_uj") for name in names if name.count(":") == 1}
        return {name: value for name, value in read.items() if value is not None}

    def _read(self, domain: str, file: str) -> int | None:
        try:
            return int((Path(self._powercap) / domain / file).read_text())
        except (OSError, ValueError):
            return None


def _merged(record: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    energy = dict(record["energy_j"])
    for name, joules in earlier.get("energy_j", {}).items():
        energy[name] = energy.get(name, 0.0) + joules
    sessions = [*earlier.get("sessions", []), *record["sessions"]]
    return {**record, "energy_j": energy, "sessions": sessions}


def _read(filesystem: Any, path: str) -> dict[str, Any]:
    try:
        with filesystem.open_input_stream(path) as file:
            return dict(json.loads(file.readall()))
    except (OSError, ValueError):
        return {}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _plain(resources: dict[str, float]) -> dict[str, float]:
    """Without the entries that Ray makes for each node's address and id."""
    return {
        name: amount
        for name, amount in resources.items()
        if not name.startswith(("node:", "object_store_memory"))
    }
