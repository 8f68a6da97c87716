"""Settings are checked on construction: what was expected, what came."""

import json
from dataclasses import asdict
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from raytune_edge.config import Recipe, Retrain, Timing


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Timing, {"tolerance": 0}, r"Timing\(tolerance=\.\.\.\): expected a number > 0, got 0"),
        (Timing, {"min_blocks": 1}, "at least 2"),
        (Timing, {"max_pressure": 1.5}, r"fraction in \(0, 1\], got 1.5"),
        (Timing, {"queue_timeout_s": -1}, "None or a number > 0"),
        (Timing, {"precision": "fp32"}, "None or OpenVINO's word.*'f32'.*got 'fp32'"),
        (Timing, {"precision": ""}, "got ''"),
        (Timing, {"precision": 32}, "got 32"),
        (Timing, {"threads": 0}, "None or at least 1, got 0"),
        (Timing, {"threads": 1.5}, "None or at least 1, got 1.5"),
        (Timing, {"input_shape": (1, 3, -1, 32)}, r"whole numbers above 0.*got \(1, 3, -1, 32\)"),
        (Timing, {"input_shape": ("batch", 3)}, "whole numbers above 0"),
        (Timing, {"input_shape": (1, 3.0)}, "whole numbers above 0"),
        (Timing, {"input_shape": ()}, "whole numbers above 0"),
        (Timing, {"input_shape": 3}, "whole numbers above 0, .*got 3"),
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


def test_numpys_numbers_can_travel() -> None:
    asked = Timing(
        input_shape=(np.int64(1), 3, np.int32(8), 8),
        threads=np.int64(2),  # type: ignore[arg-type]
        max_s=np.float32(2.5),  # type: ignore[arg-type]
        profile=np.bool_(True),  # type: ignore[arg-type]
    )
    plain = Timing(input_shape=(1, 3, 8, 8), threads=2, max_s=2.5, profile=True)
    assert asked == plain
    assert json.dumps(asdict(asked)) == json.dumps(asdict(plain))
    assert Timing(input_shape=np.array([1, 3, 8, 8])) == Timing(input_shape=[1, 3, 8, 8])  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", [None, "f32", "f16", "bf16", "i8", "dynamic"])
def test_openvinos_words_for_precisions_are_taken(precision: str | None) -> None:
    assert Timing(precision=precision).precision == precision
