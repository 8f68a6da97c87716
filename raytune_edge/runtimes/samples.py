"""Images and labels to take a network's accuracy on the device from."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Sample", "check_sample"]

Sample = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Images (N, C, H, W) and labels (N,)."""


def check_sample(sample: Sample) -> Sample:
    """The sample as arrays that a child can score; whether they fit the model, only that knows.

    Raises:
        ValueError: If there are no images, or not one whole number for each as its label.
    """
    try:
        images, labels = (np.asarray(each) for each in sample)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample: expected a pair of images and labels, got {error}") from error
    if images.ndim < 2 or not len(images) or images.dtype.kind not in "fiu":
        raise ValueError(
            f"sample: expected images (N, C, H, W) of numbers, got {images.dtype} {images.shape}"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"sample: expected a class number for each of the {len(images)} images, "
            f"{(len(images),)}, got {labels.dtype} {labels.shape}"
        )
    return images, labels
