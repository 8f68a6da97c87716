"""An answer is held against the model that was sent."""

import dataclasses
from concurrent.futures import Future
from typing import Any

import pytest

from raytune_edge.devices import Pending
from raytune_edge.errors import ModelProofError
from raytune_edge.records import Measurement
from tests.unit.test_records import measurement

OURS, ANOTHERS = "a" * 64, "b" * 64


def answered(sha256: str, **changes: Any) -> Pending:
    answer: Future[Measurement] = Future()
    answer.set_result(dataclasses.replace(measurement(), model_sha256=sha256, **changes))
    return Pending(answer, "ncs", OURS)


def test_the_record_of_the_model_that_was_sent_is_the_answer() -> None:
    assert answered(OURS).result().model_sha256 == OURS


def test_another_models_record_is_thrown_away() -> None:
    with pytest.raises(ModelProofError, match=f"expected that of {OURS}, got that of {ANOTHERS}"):
        answered(ANOTHERS).result()


def test_a_kept_record_may_be_of_a_model_with_other_weights() -> None:
    assert answered(ANOTHERS, cached=True).result().model_sha256 == ANOTHERS
