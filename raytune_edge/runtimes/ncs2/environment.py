"""The environment that the stick's runtime lives in: where it is, what it holds, how it is made.

MYRIAD left OpenVINO after 2022.3, and the only wheels that hold it are those of 2021.4.2, for
Python 3.6 to 3.9 on x86-64.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_edge.errors import MissingPrerequisiteError, NoRuntimeError
from raytune_edge.runtimes.client import foreign_environment
from raytune_edge.runtimes.ncs2.interpreters import find_python
from raytune_edge.runtimes.ncs2.udev import keep_rule

__all__ = [
    "OPENVINO",
    "VARIABLE",
    "Environment",
    "environment_folder",
    "install",
    "legacy_python",
    "look",
]

logger = logging.getLogger(__name__)

OPENVINO = "2021.4.2"
"""The last version on PyPI that carries the MYRIAD plugin and the stick's firmware."""

VARIABLE = "RAYTUNE_EDGE_NCS2"
"""Environment variable that names another folder than the default."""

_OLDEST_PIP = (19, 3)
"""The first that takes wheels of the kind manylinux2014, as OpenVINO's are; older Pythons bring an
older one."""
_NEWER_PIP = "pip>=19.3,<22"  # what came later has left Python 3.6

_NETWORK = (
    "look whether this host reaches https://pypi.org, and set HTTPS_PROXY or PIP_INDEX_URL if it "
    "goes by a proxy or a mirror"
)

_MARK = ".made-by-raytune-edge"
_MEND = "raytune-edge ncs2 install"
_LIBUSB_MEND = "sudo apt install libusb-1.0-0"
_LOOK_S = 60.0
_LOOK = """
import ctypes, json, sys
from openvino.inference_engine import get_version
try:
    ctypes.CDLL("libusb-1.0.so.0")
    libusb = True
except OSError:
    libusb = False
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "openvino": get_version(),
                  "libusb": libusb}))
"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a legacy environment says about itself.

    Attributes:
        interpreter: Its Python, which runs the stick's children.
        python: That Python's version.
        openvino: The version of its OpenVINO, such as ``"2021.4.2"``.
        libusb: Whether the system has the library that the MYRIAD plugin is linked with.
    """

    interpreter: str
    python: str
    openvino: str
    libusb: bool


def environment_folder(path: str | os.PathLike[str] | None = None) -> Path:
    """Where the environment is: ``path``, else what `VARIABLE` names, else the user's data folder.

    The default is ``~/.local/share/raytune-edge/ncs2``, or under ``$XDG_DATA_HOME``.
    """
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    chosen = path or os.environ.get(VARIABLE) or Path(data, "raytune-edge", "ncs2")
    return Path(chosen).expanduser().absolute()


def look(path: str | os.PathLike[str] | None = None) -> Environment:
    """Ask the environment what it is. It may be one that somebody else made.

    Raises:
        NoRuntimeError: If there is none, or it cannot load OpenVINO.
    """
    interpreter = environment_folder(path) / "bin" / "python"
    if not interpreter.exists():
        raise NoRuntimeError(
            f"expected the stick's runtime (OpenVINO {OPENVINO}) in {interpreter.parents[1]}, "
            f"there is none; make it: {_MEND}"
        )
    try:
        told = _run([str(interpreter), "-I", "-c", _LOOK], timeout_s=_LOOK_S)
        return Environment(interpreter=str(interpreter), **_facts(told))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise NoRuntimeError(
            f"the stick's runtime in {interpreter.parents[1]} does not work: {_said(error)}; "
            f"mend it: {_MEND}"
        ) from error


def legacy_python(path: str | os.PathLike[str] | None = None) -> str:
    """The interpreter that runs the stick's children; looked at once in a process.

    Raises:
        NoRuntimeError: If the environment or libusb is missing; the message has the command that
            mends it.
    """
    return _usable(environment_folder(path))


@functools.lru_cache
def _usable(folder: Path) -> str:
    found = look(folder)
    if not found.libusb:
        raise MissingPrerequisiteError(
            f"the stick's runtime needs libusb-1.0; install it: {_LIBUSB_MEND}"
        )
    return found.interpreter


def install(
    python: str | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    tell: Callable[[str], None] = logger.info,
) -> Environment:
    """Make the environment, or mend one that was left half-made; one that works is left alone.

    Args:
        python: A Python 3.6 to 3.9; by default one is looked for, see `interpreters.find_python`.
        path: Folder for it; by default `environment_folder`.
        tell: Gets a line for each step.

    Raises:
        MissingPrerequisiteError: If there is no such Python, or libusb is missing; the message has
            the command that mends it.
        NoRuntimeError: If the folder holds something else, or the download failed.
    """
    folder = environment_folder(path)
    with _alone(folder):
        try:
            found = look(folder)
            tell(f"{folder} works already")
        except NoRuntimeError:
            found = _make(folder, python, tell)
        rule = keep_rule(folder)
    tell(f"OpenVINO {found.openvino} on Python {found.python}: {found.interpreter}")
    if folder != environment_folder():
        tell(f"let it be found: export {VARIABLE}={folder}")
    tell(f"a stick needs this rule once: {rule}")
    if not found.libusb:
        raise MissingPrerequisiteError(
            f"the environment is made, but it needs libusb-1.0: {_LIBUSB_MEND}"
        )
    return found


def _make(folder: Path, python: str | None, tell: Callable[[str], None]) -> Environment:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise NoRuntimeError(
            f"expected a folder of its own for the stick's runtime, {folder} holds something "
            "else; choose another: raytune-edge ncs2 install --path DIR"
        )
    base = find_python(python)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    tell(f"making {folder} with {base}")
    interpreter = str(folder / "bin" / "python")
    pip = [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    try:
        _run([base, "-m", "venv", str(folder)])
        _renew_pip(interpreter, pip)
        tell(f"installing openvino=={OPENVINO} (40 MB)")
        _run([*pip, "--only-binary=:all:", f"openvino=={OPENVINO}"])
    except (OSError, subprocess.SubprocessError) as error:
        machine = os.uname().machine
        elsewhere = f"OpenVINO {OPENVINO} has wheels for x86-64 alone, this is {machine}"
        mend = _NETWORK if machine == "x86_64" else elsewhere
        raise NoRuntimeError(
            f"{base} could not make the stick's runtime in {folder}: {_said(error)}; {mend}"
        ) from error
    return look(folder)


def _renew_pip(interpreter: str, pip: Sequence[str]) -> None:
    """Bring a newer pip where this one would find no wheel; pip's own constraints hold."""
    told = re.match(r"pip (\d+)\.(\d+)", _run([interpreter, "-m", "pip", "--version"]))
    if told and (int(told[1]), int(told[2])) < _OLDEST_PIP:
        _run([*pip, "--upgrade", _NEWER_PIP])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second installation waiting: a lock on the folder above, which leaves no trace."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _run(command: Sequence[str], *, timeout_s: float | None = None) -> str:
    done = subprocess.run(
        command,
        env=foreign_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout_s,
    )
    return done.stdout


def _facts(told: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(told.splitlines()[-1])
    return facts | {"openvino": facts["openvino"].partition("-")[0]}


def _said(error: Exception) -> str:
    """The last words of a command that failed."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stdout + error.stderr).strip().splitlines()
        return " ".join(lines[-3:]) or str(error)
    return str(error)
