"""The parent of a measuring child: deadlines, kill, and a clear word on how it ended."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from raytune_edge.errors import (
    DeviceDiedError,
    DeviceError,
    DeviceTimeoutError,
    NoRuntimeError,
    UnsupportedModelError,
)

__all__ = ["Child", "foreign_environment"]

logger = logging.getLogger(__name__)

_STRIPPED = ("PYTHON", "LD_")
_STDERR_TAIL = 2000
_ERROR = {"type", "message", "trace"}
_LONGEST_ANSWER = 1 << 28
_LOOK_S = 0.2
"""Between two looks whether the child lives: a process that it forked may hold the pipe open."""
_KINDS: dict[str, type[Exception]] = {
    "unsupported": UnsupportedModelError,
    "request": ValueError,
    "runtime": NoRuntimeError,
}


def foreign_environment() -> dict[str, str]:
    """This process's environment without ``PYTHON*`` and ``LD_*``.

    They are meant for this interpreter and would misguide another one.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_STRIPPED)}


class Child:
    """A process that answers JSON lines; started by the first request, and again after a death.

    After any trouble of the process itself (deadline passed, end of file, garbage) it is killed
    with all that it started, so that the next request meets a fresh one.

    Args:
        command: The program and its arguments.
        environment: Added to `foreign_environment`.
        keep_open: File descriptors that the process inherits.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment or {})
        self._keep_open = tuple(keep_open)
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        weakref.finalize(self, self._errors.close)
        self._unread = b""
        self._count = 0

    @property
    def pid(self) -> int | None:
        """Of the running process; None if none runs."""
        return self._process.pid if self._process else None

    def request(self, operation: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """Ask for ``operation`` and wait for the answer.

        Raises:
            DeviceTimeoutError: If there was none within ``timeout_s``; the process is killed.
            DeviceDiedError: If the process ended or answered with garbage; it is killed.
            NoRuntimeError: If the answer is that there is no runtime to drive the device with.
            UnsupportedModelError: If the answer is that the runtime refuses the model.
            ValueError: If the answer is that the request does not fit the model.
            DeviceError: If the answer is another error.
        """
        deadline = time.monotonic() + timeout_s
        try:
            process = self._process or self._start()
            self._count += 1
            line = json.dumps({"id": self._count, "op": operation, **fields})
            assert process.stdin is not None
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            answer = self._answer(process, operation, deadline, timeout_s)
        except OSError as error:
            raise self._died(f"cannot be reached ({error})") from error
        if answer["ok"]:
            result: dict[str, Any] = answer["result"]
            return result
        told = answer["error"]
        logger.debug("the child's trace: %s", told["trace"])
        raise _KINDS.get(told["type"], DeviceError)(told["message"])

    def close(self, grace_s: float = 10.0) -> None:
        """Let the process end by itself, as sticks need it; kill it after ``grace_s``."""
        if self._process is None:
            return
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(b'{"op": "quit"}\n')
            self._process.stdin.close()
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            logger.warning("the child %d did not end in %g s; killing it", self.pid, grace_s)
        except OSError as error:
            logger.warning("the child %d had ended before it was closed (%s)", self.pid, error)
        self.kill()

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                # What was still to be written has no reader any more.
                with contextlib.suppress(OSError):
                    stream.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._unread = b""
        self._errors.seek(0)
        self._errors.truncate()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=foreign_environment() | self._environment,
            pass_fds=self._keep_open,
            start_new_session=True,
        )
        return self._process

    def _answer(
        self, process: subprocess.Popen[bytes], operation: str, deadline: float, timeout_s: float
    ) -> dict[str, Any]:
        line = self._read_line(process, operation, deadline, timeout_s)
        try:
            answer: dict[str, Any] = json.loads(line)
            told = answer["result"] if answer["ok"] else answer["error"]
            whole = isinstance(told, dict) and (answer["ok"] or told.keys() >= _ERROR)
            if answer["id"] != self._count or not whole:
                raise ValueError("not the answer to this request")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._died(f"answered with garbage: {line[:200]!r}", wait_s=0) from error
        return answer

    def _read_line(
        self, process: subprocess.Popen[bytes], operation: str, deadline: float, timeout_s: float
    ) -> bytes:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                # Read the state before the pipe: what a dead process said is all there by then.
                ended = process.poll() is not None
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    self.kill()
                    raise DeviceTimeoutError(
                        f"the measuring process did not answer {operation!r} in {timeout_s:g} s"
                        + self._last_words()
                    )
                ready = selector.select(0 if ended else min(left_s, _LOOK_S))
                chunk = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not chunk and (ready or ended):
                    raise self._died("ended")
                self._unread += chunk
                if len(self._unread) > _LONGEST_ANSWER:
                    raise self._died("answered with garbage: a line without end", wait_s=0)
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _died(self, how: str, *, wait_s: float = 1.0) -> DeviceDiedError:
        """Kill the process and say how it ended, with the last of what it said."""
        status = ""
        if self._process is not None:
            try:
                code = self._process.wait(wait_s)
                status = f", status {code}" if code >= 0 else f", {signal.Signals(-code).name}"
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return DeviceDiedError(f"the measuring process {how}{status}{self._last_words()}")

    def _last_words(self) -> str:
        """The end of what the process, which is gone, wrote to its standard error."""
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-_STDERR_TAIL:]
        return f"; its last words: {said}" if said else ""
