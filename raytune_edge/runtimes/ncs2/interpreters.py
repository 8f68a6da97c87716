"""Finding a Python that the stick's runtime has wheels for, and that answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from raytune_edge.errors import MissingPrerequisiteError
from raytune_edge.runtimes.client import foreign_environment

__all__ = ["find_python"]

_VERSIONS = ("3.9", "3.8", "3.7", "3.6")
_FOLDERS = (
    "{pyenv}/versions/{version}*/bin",
    "{uv}/cpython-{version}*/bin",
    "~/.local/share/mise/installs/python/{version}*/bin",
    "~/.asdf/installs/python/{version}*/bin",
    "~/*conda3/envs/*/bin",
    "~/.conda/envs/*/bin",
    "~/.local/bin",
    "/opt/*/bin",
    "/usr/local/bin",
    "/usr/bin",
)
_ANSWER_S = 10.0
_ASK = """
import ensurepip, platform, sys, venv
print(platform.python_implementation(), "%d.%d" % sys.version_info[:2])
"""


def find_python(python: str | None = None) -> str:
    """A CPython 3.6 to 3.9 that answers and can make environments, the newest first.

    An interpreter on the path may be a shim that fails, so each is asked. Looked at are the path,
    the folders of pyenv, uv, mise, asdf and conda, and the system's.

    Args:
        python: The one to use: a path, or a name such as ``"python3.8"``, of which all are tried.

    Raises:
        MissingPrerequisiteError: If there is none; it tells what was tried and how to get one.
    """
    tried = []
    for candidate in _candidates() if python is None else _named(python):
        if not (trouble := _trouble(candidate)):
            return shutil.which(candidate) or candidate
        tried.append(f"{candidate} ({trouble})")
    raise MissingPrerequisiteError(
        "expected Python 3.6 to 3.9, the only ones that the stick's runtime has wheels for; "
        f"tried {', '.join(tried) or 'the path and the usual folders, which have none'}; get one "
        "with 'uv python install 3.9' or 'pyenv install 3.9' and say it again, or name it: "
        "raytune-edge ncs2 install --python python3.9"
    )


def _named(python: str) -> list[str]:
    if os.sep in python:
        return [python]
    return [python, *(each for each in _candidates() if Path(each).name == python)]


def _candidates() -> Iterator[str]:
    folders = {
        "pyenv": os.environ.get("PYENV_ROOT") or "~/.pyenv",
        "uv": os.environ.get("UV_PYTHON_INSTALL_DIR") or "~/.local/share/uv/python",
    }
    on_path = [Path(folder) for folder in os.get_exec_path()]
    for version in _VERSIONS:
        seen = set()
        elsewhere = (_matches(each.format(version=version, **folders)) for each in _FOLDERS)
        for folder in [*on_path, *(folder for some in elsewhere for folder in some)]:
            python = folder / f"python{version}"
            if python not in seen and os.access(python, os.X_OK):
                seen.add(python)
                yield str(python)


def _matches(pattern: str) -> list[Path]:
    """The folders that a pattern from the root stands for."""
    absolute = os.path.expanduser(pattern)
    return sorted(Path("/").glob(absolute.lstrip("/")))


def _trouble(python: str) -> str:
    """Why ``python`` cannot be used; "" if it can."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK],
            env=foreign_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if "ensurepip" in said:
            return f"it cannot make environments: sudo apt install {Path(python).name}-venv"
        lines = said.splitlines() or [f"status {done.returncode}"]
        return lines[-1 if lines[0].startswith("Traceback") else 0]
    kind, version = done.stdout.split()[-2:]
    return "" if kind == "CPython" and version in _VERSIONS else f"is {kind} {version}"
