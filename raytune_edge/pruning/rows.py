"""What a sensitivity analysis found, and the CSV file that keeps it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_edge.errors import OutputError

__all__ = [
    "UNPRUNED",
    "Sensitivity",
    "SensitivityRow",
    "append_row",
    "in_order",
    "read_rows",
    "read_sensitivity",
    "write_rows",
]

UNPRUNED = "(unpruned)"
"""Stands for a group in the row of the whole network."""


@dataclass(frozen=True, kw_only=True)
class SensitivityRow:
    """One group pruned to one level; a row of the CSV file.

    Attributes:
        network: Of what: the start of the SHA-256 of the weights and of how channels are ranked.
        group: The group's name.
        level: Fraction of its channels asked to be removed.
        channels: Channels of the group unpruned; ``kept``: those that are left.
        macs_ratio: Multiply-accumulates of the network that are left, a fraction.
        top1_before: Accuracy before BatchNorm is recalibrated, as are the other ``*_before``.
        top1: After it.
    """

    network: str
    group: str
    level: float
    channels: int
    kept: int
    macs_ratio: float
    top1_before: float
    top5_before: float
    loss_before: float
    top1: float
    top5: float
    loss: float

    @property
    def key(self) -> tuple[str, float]:
        """What tells this row from the others of its network."""
        return self.group, self.level


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What `sensitivity` found.

    Attributes:
        baseline: The unpruned network.
        rows: One row for each group and level, by group and then by level.
    """

    baseline: SensitivityRow
    rows: tuple[SensitivityRow, ...]

    def bounds(self, *, max_drop: float = 0.2, min_saving: float = 0.005) -> dict[str, float]:
        """The largest ratio worth searching, by group; groups that don't pay are left out.

        Args:
            max_drop: The largest loss of top-1 after recalibration, a fraction.
            min_saving: The least fraction of the multiply-accumulates that must be saved there.
        """
        bounds: dict[str, float] = {}
        closed: set[str] = set()
        for row in self.rows:
            if self.baseline.top1 - row.top1 > max_drop:
                closed.add(row.group)
            if row.group not in closed and 1 - row.macs_ratio >= min_saving:
                bounds[row.group] = row.level
        return bounds


def read_sensitivity(csv_file: Path | str) -> Sensitivity:
    """What `sensitivity.sensitivity` has kept in ``csv_file``.

    Raises:
        ValueError: If the unpruned network is not in it.
    """
    rows = read_rows(Path(csv_file))
    if not any(row.group == UNPRUNED for row in rows):
        raise ValueError(f"{csv_file} holds no finished sensitivity analysis")
    return in_order(rows)


def in_order(rows: Iterable[SensitivityRow]) -> Sensitivity:
    """The rows by group, as they first come, and then by level; the unpruned one apart."""
    by_group: dict[str, list[SensitivityRow]] = {}
    for row in rows:
        by_group.setdefault(row.group, []).append(row)
    (baseline,) = by_group.pop(UNPRUNED)
    return Sensitivity(
        baseline=baseline,
        rows=tuple(
            row
            for group_rows in by_group.values()
            for row in sorted(group_rows, key=lambda row: row.level)
        ),
    )


_FIELDS = dataclasses.fields(SensitivityRow)
_PARSERS: dict[object, Callable[[str], object]] = {"str": str, "int": int, "float": float}


def read_rows(path: Path) -> list[SensitivityRow]:
    """The whole rows of a file; one that was cut short is left out."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                values: dict[str, Any] = {
                    field.name: _PARSERS[field.type](line[field.name]) for field in _FIELDS
                }
                rows.append(SensitivityRow(**values))
    return rows


def write_rows(path: Path, rows: Iterable[SensitivityRow]) -> None:
    """Begin the file anew with ``rows``, so that it ends with a whole line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in _FIELDS])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))
    except OSError as error:
        raise OutputError(f"the sensitivity analysis can't be kept in {path}: {error}") from error


def append_row(path: Path, row: SensitivityRow) -> None:
    with path.open("a", newline="") as file:
        csv.DictWriter(file, [field.name for field in _FIELDS]).writerow(dataclasses.asdict(row))
