"""Finding a Python that answers, and making the stick's environment with it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytune_edge.errors import MissingPrerequisiteError, NoRuntimeError
from raytune_edge.runtimes.ncs2 import environment, install, legacy_python, look
from raytune_edge.runtimes.ncs2.interpreters import find_python

ANSWERS = 'echo "CPython 3.8"'
FAILS = 'echo "pyenv: python3.9: command not found" >&2; exit 127'


def script(path: Path, lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose only folders of Pythons are the ones that a test makes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", environment.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    own = ("{pyenv}/versions/{version}*/bin", "{uv}/cpython-{version}*/bin")
    monkeypatch.setattr("raytune_edge.runtimes.ncs2.interpreters._FOLDERS", own)
    return tmp_path


def test_a_shim_that_fails_is_passed_over_for_one_that_answers(home: Path) -> None:
    script(home / "bin/python3.9", FAILS)
    well = script(home / ".pyenv/versions/3.8.18/bin/python3.8", ANSWERS)
    assert find_python() == str(well)


def test_uvs_folder_is_looked_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(home / "uv"))
    well = script(home / "uv/cpython-3.8.20-linux-x86_64-gnu/bin/python3.8", ANSWERS)
    assert find_python() == str(well)


def test_of_a_name_all_are_tried_and_of_a_path_that_alone(home: Path) -> None:
    shim = script(home / "bin/python3.8", FAILS)
    well = script(home / ".pyenv/versions/3.8.18/bin/python3.8", ANSWERS)
    assert find_python("python3.8") == str(well)
    with pytest.raises(MissingPrerequisiteError, match="command not found"):
        find_python(str(shim))


def test_where_there_is_none_it_tells_what_was_tried_and_how_to_get_one(home: Path) -> None:
    script(home / "bin/python3.9", FAILS)
    script(home / "bin/python3.8", 'echo "PyPy 3.8"')
    with pytest.raises(MissingPrerequisiteError) as caught:
        find_python()
    told = str(caught.value)
    assert "python3.9 (pyenv: python3.9: command not found)" in told
    assert "python3.8 (is PyPy 3.8)" in told
    assert "pyenv install 3.9" in told


def test_a_python_that_cannot_make_environments_is_told_with_its_package(home: Path) -> None:
    script(home / "bin/python3.9", "echo \"No module named 'ensurepip'\" >&2; exit 1")
    with pytest.raises(MissingPrerequisiteError, match=r"sudo apt install python3\.9-venv"):
        find_python()


def test_a_python_of_today_is_refused(home: Path) -> None:
    with pytest.raises(MissingPrerequisiteError, match=r"is CPython 3\.1"):
        find_python(sys.executable)


@pytest.mark.usefixtures("home")
def test_a_missing_environment_is_told_with_the_command_that_makes_it() -> None:
    with pytest.raises(NoRuntimeError, match="raytune-edge ncs2 install"):
        legacy_python()


FACTS = '{"python": "3.8.18", "openvino": "2021.4.2-3974-e2a469a", "libusb": %s}'
MAKES = """case "$2" in
-c) echo "CPython 3.8";;
venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "made $3" >> "$HOME/log";;
pip) case "$3" in
  --version) echo "pip {version} from here (python 3.8)";;
  *) echo "installed $*" >> "$HOME/log"; {pip};;
  esac;;
esac
case "$0" in */bin/python) [ "$2" = -c ] && echo '{facts}';; esac
exit 0"""
"""A Python whose environments are copies of itself."""


def python(home: Path, *, pip: str = ":", libusb: str = "true", version: str = "23.0.1") -> str:
    lines = MAKES.format(facts=FACTS % libusb, pip=pip, version=version)
    return str(script(home / "base", lines))


def log(home: Path) -> list[str]:
    path = home / "log"
    return path.read_text().splitlines() if path.exists() else []


def test_the_environment_is_made_once_with_its_rule(home: Path) -> None:
    told: list[str] = []
    made = install(python(home), home / "ncs2", tell=told.append)
    assert (made.openvino, made.python) == ("2021.4.2", "3.8.18")
    assert legacy_python(home / "ncs2") == str(home / "ncs2/bin/python")
    assert [line.split()[0] for line in log(home)] == ["made", "installed"]
    assert "openvino==2021.4.2" in log(home)[1]
    (rules,) = (home / "ncs2").glob("*.rules")
    lines = rules.read_text().splitlines()
    assert ['"2485"' in line and '"03e7"' in line for line in lines] == [True, False]
    assert '"f63b"' in lines[1]
    assert any(f"sudo cp {rules} /etc/udev/rules.d/" in line for line in told)
    assert any(f"export {environment.VARIABLE}={home / 'ncs2'}" in line for line in told)
    assert install(None, home / "ncs2") == made
    assert len(log(home)) == 2


@pytest.mark.parametrize(
    ("version", "renewed"), [("18.1", True), ("19.2.3", True), ("19.3", False)]
)
def test_a_pip_that_knows_no_such_wheels_is_renewed_first(
    home: Path, version: str, renewed: bool
) -> None:
    install(python(home, version=version), home / "ncs2")
    done = log(home)[1:]
    assert done[0].endswith("--upgrade pip>=19.3,<22") == renewed
    assert "openvino==2021.4.2" in done[-1]
    assert len(done) == 1 + renewed


def test_an_environment_of_another_user_serves_and_its_rule_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(python(home), home / "ncs2")
    (rules,) = (home / "ncs2").glob("*.rules")
    lines = rules.read_text().splitlines()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    told: list[str] = []
    monkeypatch.setattr(Path, "write_text", refuse)
    install(None, home / "ncs2", tell=told.append)
    assert f"sudo cp {rules} /etc/udev/rules.d/" in told[-1]
    rules.unlink()
    install(None, home / "ncs2", tell=told.append)
    command = told[-1].partition(": ")[2].partition(" | sudo tee /etc/udev/rules.d/97-")[0]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == lines


@pytest.mark.parametrize(
    ("machine", "mend"), [("x86_64", "HTTPS_PROXY"), ("aarch64", "x86-64 alone, this is aarch64")]
)
def test_a_download_that_failed_is_told_with_what_may_be_wrong(
    home: Path, machine: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.os, "uname", lambda: SimpleNamespace(machine=machine))
    with pytest.raises(NoRuntimeError, match=mend) as caught:
        install(python(home, pip="echo no network today; exit 1"), home / "ncs2")
    assert ("x86-64" in str(caught.value)) == (machine != "x86_64")


def test_what_was_left_half_made_is_made_anew(home: Path) -> None:
    with pytest.raises(NoRuntimeError, match="no network today") as caught:
        install(python(home, pip="echo no network today; exit 1"), home / "ncs2")
    assert not isinstance(caught.value, MissingPrerequisiteError)
    script(home / "ncs2/bin/python", "exit 1")
    (home / "ncs2/left").touch()
    with pytest.raises(NoRuntimeError, match="does not work"):
        look(home / "ncs2")
    assert install(python(home), home / "ncs2").openvino == "2021.4.2"
    assert not (home / "ncs2/left").exists()


def test_a_folder_of_something_else_is_left_alone(home: Path) -> None:
    kept = home / "thesis/chapter.tex"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(NoRuntimeError, match="something else"):
        install(python(home), home / "thesis")
    assert kept.exists()


def test_without_libusb_the_package_is_named(home: Path) -> None:
    with pytest.raises(MissingPrerequisiteError, match=r"sudo apt install libusb-1\.0-0"):
        install(python(home, libusb="false"), home / "ncs2")
    with pytest.raises(MissingPrerequisiteError, match=r"sudo apt install libusb-1\.0-0"):
        legacy_python(home / "ncs2")


def test_the_variable_and_the_data_folder_say_where(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.environment_folder() == home / ".local/share/raytune-edge/ncs2"
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    assert environment.environment_folder() == home / "data/raytune-edge/ncs2"
    monkeypatch.setenv(environment.VARIABLE, "~/elsewhere")
    assert environment.environment_folder() == home / "elsewhere"
    assert environment.environment_folder("here") == Path(os.getcwd(), "here")


def test_this_interpreters_settings_do_not_reach_the_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("LD_PRELOAD", "")
    script(home / "bin/python3.9", '[ -z "${PYTHONHOME+x}${LD_PRELOAD+x}" ] && echo "CPython 3.9"')
    assert find_python() == str(home / "bin/python3.9")
