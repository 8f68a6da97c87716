"""Measurements kept between runs: a SQLite file in a folder that the user names."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from raytune_edge.config import Timing
from raytune_edge.errors import OutputError
from raytune_edge.records import Measurement, disagree

__all__ = ["Store", "settings_key"]

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_Key = tuple[str, str, str, str]

_FILE = "measurements.sqlite"
_BUSY_S = 10.0
_TROUBLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What a file can raise; the second when a message about damage quotes what cannot be decoded."""
_LIMITS = {"timeout_s", "queue_timeout_s"}
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS measurements (
        signature TEXT NOT NULL,
        device_name TEXT NOT NULL,
        runtime TEXT NOT NULL,
        settings TEXT NOT NULL,
        taken_at REAL NOT NULL,
        record TEXT NOT NULL,
        sha256 TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS by_key
        ON measurements (signature, device_name, runtime, settings, taken_at);
"""


def settings_key(timing: Timing) -> str:
    """The part of ``timing`` that decides the figures, as text; its time limits do not.

    >>> settings_key(Timing()) == settings_key(Timing(timeout_s=5.0))
    True
    >>> settings_key(Timing()) == settings_key(Timing(threads=2))
    False
    """
    values = dataclasses.asdict(timing)
    return json.dumps({name: values[name] for name in sorted(set(values) - _LIMITS)})


class Store:
    """Measurements by (signature, device name, runtime, settings), safe under several processes.

    The newest record of a key answers, unless it carries flags: a doubtful figure is kept, but
    measured again when asked for. Where a new record and the one that answered until then differ
    by more than their joint noise, both get a flag. A record is one transaction, so a crash leaves
    it whole or absent. A file that SQLite finds damaged is renamed to
    ``measurements.sqlite.damaged-<time>`` with a warning, and a row whose SHA-256 does not fit is
    passed over. Trouble with the file never fails a measurement: it is logged.

    The folder must be on a local disk: SQLite's write-ahead log does not work on network shares.

    Raises:
        OutputError: If the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / _FILE
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            (self.path.parent / f"{_FILE}.lock").touch()
        except OSError as error:
            raise OutputError(
                f"the store's folder {self.path.parent} cannot be written: {error}; "
                "name a folder that can"
            ) from error
        self._attempt(_check, None)

    def get(
        self,
        signature: str,
        *,
        device_name: str,
        runtime: str,
        timing: Timing,
        max_age_s: float | None = None,
    ) -> Measurement | None:
        """The newest record of this key that can be trusted, marked as cached; None if none is.

        A record older than ``max_age_s``, or with flags, doesn't answer.
        """
        key = (signature, device_name, runtime, settings_key(timing))
        oldest = 0.0 if max_age_s is None else time.time() - max_age_s
        return self._attempt(lambda connection: _newest(connection, key, oldest), None)

    def put(self, measurement: Measurement, timing: Timing) -> None:
        """Keep a measurement; one without a signature is not kept.

        Accuracy on the device depends on the weights and is left out.
        """
        if not measurement.signature:
            return
        new = dataclasses.replace(measurement, top1=None, top5=None, cached=False)
        key = (new.signature, new.device_name, new.runtime, settings_key(timing))

        def insert(connection: sqlite3.Connection) -> None:
            doubted = _doubt_others(connection, key, new)
            kept = _flagged(new, doubted) if doubted else new
            connection.execute(
                "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, kept.taken_at, *_written(kept)),
            )

        self._attempt(insert, None)

    def records(self) -> list[Measurement]:
        """Every whole record, oldest first, flagged and old ones included."""
        return self._attempt(
            lambda connection: [each for _, each in _whole(connection, "1 ORDER BY taken_at", ())],
            [],
        )

    def _attempt(
        self, action: Callable[[sqlite3.Connection], _Result], otherwise: _Result
    ) -> _Result:
        """Run ``action`` in a transaction; on a damaged file, once more on a new one."""
        for _ in range(2):
            try:
                with _connection(self.path) as connection:
                    return action(connection)
            except _TROUBLE as error:
                if not _is_damage(error):
                    logger.warning("the store %s is left out this time: %s", self.path, error)
                    return otherwise
                try:
                    self._set_aside()
                except OSError as trouble:
                    logger.warning("the store %s is damaged and stays so: %s", self.path, trouble)
                    return otherwise
        return otherwise

    def _set_aside(self) -> None:
        """Rename the damaged file, unless another process just did."""
        with open(self.path.parent / f"{_FILE}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                with _connection(self.path) as connection:
                    _check(connection)
            except _TROUBLE as error:
                if not _is_damage(error):
                    return
                suffix = f".damaged-{time.time_ns()}"
                for end in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(f"{self.path}{end}", f"{self.path}{suffix}{end}")
                logger.warning(
                    "the store %s is damaged (%s): set aside as %s, begun anew",
                    self.path,
                    error,
                    self.path.name + suffix,
                )


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """An open transaction; a connection for each, so that threads and processes need no more."""
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        connection.text_factory = lambda text: text.decode(errors="replace")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if not connection.execute("PRAGMA schema_version").fetchone()[0]:
            connection.executescript(_SCHEMA)
        with connection:
            yield connection


def _check(connection: sqlite3.Connection) -> None:
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _is_damage(error: Exception) -> bool:
    """SQLite's CORRUPT and NOTADB come as the base class; a lock or a full disk do not."""
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError)


def _newest(connection: sqlite3.Connection, key: _Key, oldest: float) -> Measurement | None:
    for _, record in _trusted(connection, key, oldest):
        return dataclasses.replace(record, cached=True, queue_wait_s=0.0)
    return None


def _doubt_others(
    connection: sqlite3.Connection, key: _Key, new: Measurement
) -> Measurement | None:
    """Flag what disagrees with ``new``, if the record that answers does; returns that one."""
    trusted = list(_trusted(connection, key, 0.0))
    if new.flags or not trusted or not disagree(trusted[0][1], new):
        return None
    for row, record in trusted:
        if disagree(record, new):
            values = (*_written(_flagged(record, new)), row)
            connection.execute(
                "UPDATE measurements SET record = ?, sha256 = ? WHERE rowid = ?", values
            )
    return trusted[0][1]


def _flagged(record: Measurement, other: Measurement) -> Measurement:
    doubt = f"another measurement of the same network took p50 {other.latency_p50_ms:.4g} ms"
    return dataclasses.replace(record, flags=(*record.flags, doubt))


def _trusted(
    connection: sqlite3.Connection, key: _Key, oldest: float
) -> Iterator[tuple[int, Measurement]]:
    """The records of this key without flags, newest first."""
    where = (
        "signature = ? AND device_name = ? AND runtime = ? AND settings = ? AND taken_at >= ? "
        "ORDER BY taken_at DESC"
    )
    return (each for each in _whole(connection, where, (*key, oldest)) if not each[1].flags)


def _whole(
    connection: sqlite3.Connection, where: str, values: tuple[Any, ...]
) -> Iterator[tuple[int, Measurement]]:
    """Row numbers and records whose checksum fits and whose fields are today's."""
    rows = connection.execute(
        f"SELECT rowid, record, sha256 FROM measurements WHERE {where}", values
    )
    for row, record, sha256 in rows:
        if _sha256(record) != sha256:
            logger.warning("the store holds a record whose checksum does not fit: passed over")
            continue
        try:
            yield row, Measurement.from_dict(json.loads(record))
        except ValueError as error:
            logger.warning("the store holds a record of another version: passed over (%s)", error)


def _written(record: Measurement) -> tuple[str, str]:
    text = json.dumps(record.to_dict())
    return text, _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
