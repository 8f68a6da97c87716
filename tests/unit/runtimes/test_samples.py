"""Samples are looked at before they travel."""

from typing import Any

import numpy as np
import pytest

from raytune_edge.runtimes.samples import check_sample

IMAGES = np.zeros((10, 3, 8, 8), np.float32)


def test_a_sample_comes_back_as_arrays() -> None:
    images, labels = check_sample((IMAGES.tolist(), list(range(10))))  # type: ignore[arg-type]
    assert (images.shape, labels.shape) == (IMAGES.shape, (10,))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (IMAGES, "expected a pair"),
        ((IMAGES,), "expected a pair"),
        (7, "expected a pair"),
        ((IMAGES[:0], np.zeros(0, int)), r"expected images \(N, C, H, W\).*\(0, 3, 8, 8\)"),
        ((np.zeros(10), np.arange(10)), r"expected images \(N, C, H, W\)"),
        ((IMAGES.astype(str), np.arange(10)), r"expected images \(N, C, H, W\) of numbers"),
        ((IMAGES, np.arange(20)), r"each of the 10 images, \(10,\), got int64 \(20,\)"),
        ((IMAGES, np.eye(10, dtype=int)), r"got int64 \(10, 10\)"),
        ((IMAGES, np.arange(10.0)), "got float64"),
    ],
)
def test_what_cannot_be_scored_is_refused(sample: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sample(sample)
