"""Settings are checked on construction: what was expected, what came."""

from typing import Any
from unittest.mock import Mock

import pytest

from raytune_edge.config import Recipe, Retrain, Timing


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Timing, {"tolerance": 0}, r"Timing\(tolerance=\.\.\.\): expected a number > 0, got 0"),
        (Timing, {"min_blocks": 1}, "at least 2"),
        (Timing, {"max_pressure": 1.5}, r"fraction in \(0, 1\], got 1.5"),
        (Timing, {"queue_timeout_s": -1}, "None or a number > 0"),
        (Retrain, {"epochs": 2.5}, "whole number >= 0, got 2.5"),
        (Retrain, {"lr": -0.1}, "number > 0, got -0.1"),
        (Retrain, {"schedule": "step"}, "'onecycle' or 'cosine', got 'step'"),
        (Retrain, {"distill": 2}, "from 0 to 1, got 2"),
        (Recipe, {"gate": "maybe"}, r"one of \('overlap', 'wait', 'off'\), got 'maybe'"),
        (Recipe, {"criterion": "l3"}, "'fpgm'.*got 'l3'"),
        (Recipe, {"kind": "both"}, "'channels'.*got 'both'"),
        (Recipe, {"backend": "distiller"}, "'torch-pruning'.*got 'distiller'"),
        (Recipe, {"round_to": 0}, "at least 1, got 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    kind: type, settings: dict[str, Any], message: str
) -> None:
    required = {"task": Mock()} if kind is Recipe else {}
    with pytest.raises(ValueError, match=message):
        kind(**required, **settings)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Retrain().epochs = 3  # type: ignore[misc]
