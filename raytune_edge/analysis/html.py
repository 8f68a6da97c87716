"""Frames and pictures as what the report's template takes."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from raytune_edge.analysis.plots import style

__all__ = ["Picture", "Section", "Table", "picture", "table"]

_LONG = ("reason", "flags")
_DPI = 120


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG in base64, of ``width`` × ``height`` pixels, with its caption."""

    title: str
    text: str
    png: str
    width: int
    height: int
    wide: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """Names and cells; ``id`` makes it sortable."""

    title: str
    id: str
    columns: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    @property
    def named(self) -> bool:
        """Whether the columns have names to show."""
        return any(str(column["name"]).strip() for column in self.columns)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading of the report and what is under it."""

    title: str
    texts: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def picture(draw: Callable[[], Axes], title: str, text: str, *, wide: bool = False) -> Picture:
    """What ``draw`` returns, as PNG."""
    file = io.BytesIO()
    style.save(draw(), file, dpi=_DPI)
    png = file.getvalue()
    width, height = struct.unpack(">II", png[16:24])  # the header chunk of every PNG
    return Picture(
        title=title, text=text, png=base64.b64encode(png).decode(), width=width, height=height,
        wide=wide,
    )  # fmt: skip


def table(
    frame: pd.DataFrame,
    *,
    title: str = "",
    id: str = "",  # noqa: A002 - HTML's name for it
    formats: Mapping[str, str] | None = None,
    help: Mapping[str, str] | None = None,  # noqa: A002 - what a browser shows on hovering
    marked: set[int] | None = None,
) -> Table:
    """A frame as an HTML table.

    Args:
        formats: Format of each numeric column; four digits where none is given.
        help: Explanation of each column.
        marked: Positions of the rows that stand out.
    """
    formats, help_of, marked = formats or {}, help or {}, marked or set()
    numeric = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    columns = [
        {"name": name, "text": not numeric[name], "help": help_of.get(str(name), "")}
        for name in frame
    ]
    cells = [
        [_cell(str(name), value, numeric[name], formats.get(str(name), ".4g")) for value in column]
        for name, column in frame.items()
    ]
    rows = [
        {"cells": row, "marked": position in marked}
        for position, row in enumerate(zip(*cells, strict=True))
    ]
    return Table(title=title, id=id, columns=columns, rows=rows)


def _cell(column: str, value: Any, numeric: bool, form: str) -> dict[str, Any]:
    unknown = bool(pd.isna(value))
    if numeric:
        text = "–" if unknown else format(value, form)
        return {"text": text, "key": "" if unknown else repr(float(value)), "css": "", "status": ""}
    text = "" if unknown else str(value)
    css = "text long" if column in _LONG and text else "text"
    return {"text": text, "key": None, "css": css, "status": text if column == "status" else ""}
