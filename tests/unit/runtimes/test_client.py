"""The parent of a measuring child, with children of a few lines."""

import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raytune_edge.errors import (
    DeviceDiedError,
    DeviceError,
    DeviceTimeoutError,
    NoRuntimeError,
    UnsupportedModelError,
)
from raytune_edge.runtimes import client
from raytune_edge.runtimes.client import Child

ECHO = """
import json, os, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "quit":
        break
    answer = {"id": request["id"], "ok": True, "result": {"pid": os.getpid(), **request}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(code: str, **options: object) -> Child:
        command = [sys.executable, "-S", "-c", textwrap.dedent(code)]
        made.append(Child(command, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.kill()


def runs(pid: int) -> bool:
    """Whether ``pid`` is there and is no zombie, which an orphan may be until init sees to it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_child_answers_all_requests(child: Callable[..., Child]) -> None:
    echo = child(ECHO)
    assert echo.pid is None
    first = echo.request("say", timeout_s=10, word="hello")
    second = echo.request("say", timeout_s=10, word="again")
    assert (first["word"], second["word"]) == ("hello", "again")
    assert first["pid"] == second["pid"] == echo.pid
    assert second["id"] == first["id"] + 1


def test_the_childs_environment_is_its_own(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    monkeypatch.setenv("HOME", "/at/home")
    code = ECHO.replace("os.getpid(), **request", "os.getpid(), **os.environ")
    told = child(code, environment={"GIVEN": "to it"}).request("say", timeout_s=10)
    assert (told["HOME"], told["GIVEN"]) == ("/at/home", "to it")
    assert not [name for name in told if name.startswith(("PYTHON", "LD_"))]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ('{"id": 1, "ok": false, "error": {"type": "unsupported", "message": "no Tanh", '
         '"trace": ""}}', UnsupportedModelError),
        ('{"id": 1, "ok": false, "error": {"type": "runtime", "message": "no Tanh", '
         '"trace": ""}}', NoRuntimeError),
        ('{"id": 1, "ok": false, "error": {"type": "request", "message": "no Tanh", '
         '"trace": ""}}', ValueError),
        ('{"id": 1, "ok": false, "error": {"type": "device", "message": "no Tanh", '
         '"trace": ""}}', DeviceError),
    ],
)  # fmt: skip
def test_an_error_is_told_by_whose_fault_it_is(
    answer: str, error: type[Exception], child: Callable[..., Child]
) -> None:
    each = child(f"print({answer!r}, flush=True); input(); input()")
    with pytest.raises(error, match="no Tanh"):
        each.request("say", timeout_s=10)
    assert each.pid is not None


@pytest.mark.parametrize(
    "answer",
    [
        "no JSON",
        "[]",
        '{"id": 1}',
        '{"id": 1, "ok": true}',
        '{"id": 1, "ok": true, "result": 7}',
        '{"id": 1, "ok": false, "error": "no Tanh"}',
        '{"id": 1, "ok": false, "error": {"message": "no Tanh"}}',
        "[" * 100_000,
        '{"id": 7, "ok": true, "result": {}}',
        "\N{SNOWMAN}",
    ],
)
def test_garbage_is_the_end_of_a_child(answer: str, child: Callable[..., Child]) -> None:
    each = child(f"print({answer!r}, flush=True); input(); input()")
    with pytest.raises(DeviceDiedError, match="answered with garbage"):
        each.request("say", timeout_s=10)
    assert each.pid is None


def test_a_line_without_end_is_garbage(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LONGEST_ANSWER", 1 << 20)
    each = child("import sys\nwhile True: sys.stdout.write('x' * 1000)")
    with pytest.raises(DeviceDiedError, match="a line without end"):
        each.request("say", timeout_s=10)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("sys.exit(3)", "ended, status 3; its last words: help me"),
        ("os.kill(os.getpid(), 11)", "ended, SIGSEGV; its last words: help me"),
    ],
)
def test_a_dead_child_is_told_with_its_last_words_and_replaced(
    end: str, told: str, child: Callable[..., Child]
) -> None:
    each = child(ECHO.replace("    answer =", f"    if request.get('die'): {end}\n    answer ="))
    each._command[-1] = each._command[-1].replace(
        "for line", "print('help me', file=sys.stderr, flush=True)\nfor line"
    )
    with pytest.raises(DeviceDiedError, match=told):
        each.request("say", timeout_s=10, die=True)
    assert each.request("say", timeout_s=10)["pid"] == each.pid


def test_a_child_that_never_stops_talking_is_late_all_the_same(
    child: Callable[..., Child],
) -> None:
    each = child("import time\nwhile True: print(end='x', flush=True); time.sleep(0.01)")
    with pytest.raises(DeviceTimeoutError):
        each.request("say", timeout_s=0.5)


def test_a_death_is_seen_though_a_fork_holds_the_pipe_open(child: Callable[..., Child]) -> None:
    each = child("import os, time\nif os.fork() == 0: time.sleep(1000)\nos._exit(3)")
    start = time.monotonic()
    with pytest.raises(DeviceDiedError, match="ended, status 3"):
        each.request("say", timeout_s=60)
    assert time.monotonic() - start < 10


def test_a_child_that_hangs_is_killed_with_all_that_it_started(
    child: Callable[..., Child], tmp_path: Path
) -> None:
    each = child(
        f"""
        import subprocess, time
        grandchild = subprocess.Popen(["sleep", "1000"])
        with open({str(tmp_path / "pid")!r}, "w") as file:
            file.write(str(grandchild.pid))
        time.sleep(1000)
        """
    )
    start = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match=r"did not answer 'say' in 0\.5 s$"):
        each.request("say", timeout_s=0.5)
    assert time.monotonic() - start < 5
    assert each.pid is None
    while runs(int((tmp_path / "pid").read_text())):  # a killed process takes a moment to end
        assert time.monotonic() - start < 10


def test_the_last_words_of_a_child_that_hangs_are_told(child: Callable[..., Child]) -> None:
    each = child(
        "import sys, time\nprint('help me', file=sys.stderr, flush=True); time.sleep(1000)"
    )
    with pytest.raises(DeviceTimeoutError, match=r"in 1 s; its last words: help me$"):
        each.request("say", timeout_s=1.0)


def test_closing_lets_a_child_end_by_itself(child: Callable[..., Child], tmp_path: Path) -> None:
    gone = tmp_path / "closed"
    each = child(ECHO + f"\nopen({str(gone)!r}, 'w').close()")
    pid = each.request("say", timeout_s=10)["pid"]
    each.close()
    assert gone.exists()
    assert not runs(pid)
    each.close()


def test_a_child_that_does_not_close_is_killed(
    child: Callable[..., Child], caplog: pytest.LogCaptureFixture
) -> None:
    each = child(ECHO.replace("break", "import time; time.sleep(1000)"))
    pid = each.request("say", timeout_s=10)["pid"]
    each.close(grace_s=0.1)
    assert not runs(pid)
    assert "did not end in 0.1 s" in caplog.text


def test_a_child_that_is_dead_already_is_not_called_slow(
    child: Callable[..., Child], caplog: pytest.LogCaptureFixture
) -> None:
    each = child(ECHO)
    os.kill(each.request("say", timeout_s=10)["pid"], signal.SIGKILL)
    assert each._process is not None
    each._process.wait()
    each.close()
    assert "had ended before it was closed" in caplog.text
    assert "did not end" not in caplog.text


def test_no_pipe_is_left_open(child: Callable[..., Child]) -> None:
    each = child(ECHO)
    each.request("say", timeout_s=10)
    each.kill()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        each.request("say", timeout_s=10)
        each.kill()
    assert len(os.listdir("/proc/self/fd")) == before
