"""ONNX files as they come in: those that are too large are refused unread."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from raytune_edge.errors import UnsupportedModelError

__all__ = ["MAX_MODEL_BYTES", "Piece", "check_model_bytes", "read_model", "sha256_of"]

Piece = bytes | memoryview
"""Some of a model's bytes."""

MAX_MODEL_BYTES = 1 << 30
"""Larger models are refused before they travel; ONNX itself ends at 2 GiB."""


def check_model_bytes(*pieces: Piece) -> None:
    """Refuse what no device could measure, before it travels.

    Raises:
        UnsupportedModelError: If there are no bytes, or more than `MAX_MODEL_BYTES`.
    """
    _check_size(sum(map(len, pieces)))


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an ONNX file; one that is too large is not read.

    Raises:
        OSError: If the file cannot be read.
        UnsupportedModelError: If it is empty, or larger than `MAX_MODEL_BYTES`.
    """
    path = Path(path)
    if path.is_dir():
        inside = ", ".join(sorted(each.name for each in path.glob("*.onnx"))) or "none"
        raise IsADirectoryError(
            f"expected an ONNX file, got the folder {path}; ONNX files in it to name: {inside}"
        )
    _check_size(path.stat().st_size)
    return path.read_bytes()


def sha256_of(*pieces: Piece) -> str:
    """The hash that tells one model from another, in hexadecimal."""
    sha256 = hashlib.sha256()
    for piece in pieces:
        sha256.update(piece)
    return sha256.hexdigest()


def _check_size(size_bytes: int) -> None:
    if size_bytes == 0:
        raise UnsupportedModelError("expected an ONNX model, got 0 bytes; export it once more")
    if size_bytes > MAX_MODEL_BYTES:
        raise UnsupportedModelError(
            f"expected an ONNX model of at most {MAX_MODEL_BYTES:,} bytes, got {size_bytes:,} "
            "bytes; keep large weights out of a model for an edge device"
        )
