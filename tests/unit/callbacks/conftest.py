"""A Tune trial as far as callbacks look at it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


def make_trial(number: int = 0, **told: Any) -> Any:
    fields = {
        "trial_id": f"t{number}",
        "experiment_tag": f"{number}_",
        "experiment_dir_name": "digits",
        "status": "RUNNING",
        "config": {"pruning_ratio:a": 0.5},
        "last_result": {},
        "latest_checkpoint_result": None,
        "checkpoint": None,
        "storage": None,
        "error_file": None,
        "get_error": lambda: None,
    }
    return SimpleNamespace(**{**fields, **told})


@pytest.fixture
def trial() -> Callable[..., Any]:
    return make_trial
