"""Commands in the documentation are those of the programs."""

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.scripts.scripts import cli as ray_cli

from raytune_edge.cli import _parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OTHERS = {
    *("cd", "chmod", "cp", "docker", "echo", "export", "install", "ip", "journalctl", "lsusb"),
    *(
        "mkdir",
        "modprobe",
        "pip",
        "pyenv",
        "scp",
        "source",
        "ssh",
        "sudo",
        "systemctl",
        "tensorboard",
    ),
    *("udevadm", "useradd", "usermod", "uv", "wandb"),
}
"""Programs whose command lines are not looked at."""
TARGETS = set(re.findall(r"^([\w-]+)(?: [\w-]+)*:", (ROOT / "Makefile").read_text(), re.M))


def commands() -> Iterator[tuple[str, str]]:
    """Page and command line: whole lines of shell blocks, and what stands in the text."""
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.S):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.partition("#")[0].strip()
                if command:
                    yield page.name, command
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        for command in re.findall(r"`((?:raytune-edge|make|ray start) [^`]+)`", prose):
            yield page.name, command.replace("\n", " ")


COMMANDS = sorted(set(commands()))


def flags_of(script: Path) -> set[str]:
    """The options that a script's ``add_argument`` calls name."""
    calls = (node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call))
    return {
        str(argument.value)
        for call in calls
        if getattr(call.func, "attr", "") == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def check(words: list[str]) -> str:
    """What is wrong with a command line; "" if nothing is."""
    program = Path(words[0]).name
    if program == "raytune-edge":
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                _parser().parse_args(words[1:])
            except SystemExit as end:
                return said.getvalue() if end.code else ""
        return ""
    if program == "make":
        named = [word for word in words[1:] if "=" not in word]
        return "" if named and set(named) <= TARGETS else f"the Makefile has {sorted(TARGETS)}"
    if program == "ray":
        known = {option for each in ray_cli.commands[words[1]].params for option in each.opts}
        given = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
        return "" if given <= known else f"ray {words[1]} has no {sorted(given - known)}"
    if program.startswith("python"):
        return check_python(words[1:])
    return (
        ""
        if program in OTHERS or (ROOT / words[0]).is_file()
        else f"nobody looks at {program!r}: see {Path(__file__).name}"
    )


def check_python(words: list[str]) -> str:
    if words[0] == "-c":
        compile(words[1], "<documentation>", "exec")
        return ""
    if words[0] == "-m" or words[0].endswith("/run.py"):  # a bundle's
        return ""
    script = ROOT / words[0]
    if not script.exists():
        return f"there is no {script}"
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
    unknown = given - flags_of(script)
    return f"{script.name} has no {sorted(unknown)}" if unknown else ""


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_one_of_its_program(page: str, command: str) -> None:
    for part in re.split(r"\s(?:&&|\|\|?)\s", command):
        words = shlex.split(part)
        while words and re.fullmatch(r"\w+=.*|nohup|time", words[0]):
            words = words[1:]
        if words:
            assert not (wrong := check(words)), f"{page}: {part}: {wrong}"


def test_a_wrong_command_is_found() -> None:
    assert "unrecognized arguments" in check(["raytune-edge", "measure", "x.onnx", "--fast"])
    assert check(["make", "coffee"])
    assert "--resource" in check(["ray", "start", "--resource={}"])
    assert "no ['--fast']" in check(["python", "examples/quickstart.py", "--fast"])
    assert check(["python", "examples/absent.py"])
    assert check(["curl", "https://example.org"])
