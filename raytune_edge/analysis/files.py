"""The files that a trial left in its checkpoint; hides where Tune keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow.fs import FSSpecHandler

__all__ = ["FILES", "checkpoint_folder", "checkpoint_uri", "read_json"]

FILES = ("model.onnx", "plan.json", "state_dict.pt", "measurement.json", "manifest.json")
"""What a finished trial leaves."""


def checkpoint_uri(checkpoint: Any) -> str:
    """Where a Tune ``Checkpoint`` lies: a path, or a URI if that is not on this machine.

    A file system that fsspec brings is named by its protocol; what else it was made with, such as
    an endpoint, no URI tells.
    """
    filesystem, path = checkpoint.filesystem, str(checkpoint.path)
    if filesystem.type_name == "local":
        return path
    if isinstance(getattr(filesystem, "handler", None), FSSpecHandler):
        return str(filesystem.handler.fs.unstrip_protocol(path))
    return f"{filesystem.type_name}://{path}"


@contextmanager
def checkpoint_folder(row: pd.Series) -> Iterator[Path | None]:
    """The folder with the trial's files, downloaded first if it is remote; None if it left none."""
    where = str(row.get("checkpoint", "") or "")
    if not where or Path(where).is_dir():
        yield Path(where) if where else None
    elif "://" in where:
        from ray.tune import Checkpoint

        with Checkpoint(where).as_directory() as folder:
            yield Path(folder)
    else:
        yield None


def read_json(row: pd.Series, name: str) -> dict[str, Any]:
    """One of the trial's JSON files; empty if it left none or it cannot be read."""
    with checkpoint_folder(row) as folder:
        try:
            values = json.loads((folder / name).read_text()) if folder else {}
        except (OSError, json.JSONDecodeError):
            return {}
    return values if isinstance(values, dict) else {}
