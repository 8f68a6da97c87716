"""The wheel and the source distribution: what is in them, and that they can be made again."""

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]


LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", "__pycache__", "runs", "site", "dist"
)


def build(source: Path, folder: Path) -> dict[str, Path]:
    """Wheel and source distribution of ``source``, in ``folder``."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1735689600"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository that nobody works in."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "copy", ignore=LEFT_OUT)


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(source, tmp_path_factory.mktemp("built"))


def test_two_builds_are_equal_to_the_byte(
    source: Path, built: dict[str, Path], tmp_path: Path
) -> None:
    # Of another time, in another folder, and by somebody who lets nobody else read files.
    copy = shutil.copytree(source, tmp_path / "another")
    for path in copy.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (0, 0))
    again = build(copy, tmp_path / "built")
    assert set(built) == {".whl", ".gz"}
    for suffix, path in built.items():
        sums = [hashlib.sha256(each.read_bytes()).hexdigest() for each in (path, again[suffix])]
        assert sums[0] == sums[1], path.name


def test_the_wheel_holds_the_package_and_nothing_else(source: Path, built: dict[str, Path]) -> None:
    files = (path for path in (source / "raytune_edge").rglob("*") if path.is_file())
    wanted = {str(path.relative_to(source)) for path in files}
    assert "raytune_edge/py.typed" in wanted
    with zipfile.ZipFile(built[".whl"]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        told = email.message_from_bytes(wheel.read(metadata))
    assert held == wanted
    assert told["License-Expression"] == "Apache-2.0"
    assert set(told.get_all("Provides-Extra") or ()) == {"dev", "docs"}


def test_the_source_distribution_holds_what_its_tests_need(
    source: Path, built: dict[str, Path]
) -> None:
    with tarfile.open(built[".gz"]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "Makefile",
        "constraints.txt",
        "constraints-oldest.txt",
        "mkdocs.yml",
        "pyproject.toml",
        "README.md",
    }
    for folder in ("docs", "examples", "raytune_edge", "tests"):
        files = (path for path in (source / folder).rglob("*") if path.is_file())
        wanted |= {str(path.relative_to(source)) for path in files}
    assert wanted <= held, wanted - held
    assert not [name for name in held if name.startswith((".venv", "runs/", "site/"))]


def test_the_lower_bounds_are_the_oldest_versions_that_were_tried(built: dict[str, Path]) -> None:
    tried = (ROOT / "constraints-oldest.txt").read_text()
    oldest = {
        name: Version(version) for name, version in re.findall(r"^([\w-]+)==(\S+)$", tried, re.M)
    }
    with zipfile.ZipFile(built[".whl"]) as wheel:
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        told = email.message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist") or []
    needed = [each for each in map(Requirement, told) if each.marker is None]
    bounds = {
        each.name: Version(limit.version)
        for each in needed
        for limit in each.specifier
        if limit.operator == ">="
    }
    assert bounds == oldest


def test_what_is_installed_fits_together() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
