"""What finished learning curves say of those under way."""

import math

import pytest

from raytune_edge.search.curves import Curves

ERRORS = [0.1, 0.2, 0.3, 0.4, 0.5]
"""What is left of each finished trial's error, after epoch 1, at its end."""


@pytest.fixture
def curves() -> Curves:
    known = Curves("top1")
    for number, left in enumerate(ERRORS):
        known.add(f"finished{number}", 1, 0.5)
        known.add(f"finished{number}", 2, 1 - 0.5 * left)
        known.end(f"finished{number}", finished=True)
    return known


def test_at_best_as_much_error_is_lost_as_ever_was_and_the_median_is_expected(
    curves: Curves,
) -> None:
    curves.add("new", 1, 0.8)
    assert curves.outlook("new") == pytest.approx((1 - 0.2 * min(ERRORS), 1 - 0.2 * 0.3))
    curves.add("new", 2, 0.9)  # the others' last epoch: nothing more is to be gained
    assert curves.outlook("new") == pytest.approx((0.9, 0.9))


def test_a_loss_falls_by_a_factor_too() -> None:
    curves = Curves("val_loss")
    for number, left in enumerate(ERRORS):
        curves.add(str(number), 1, 2.0)
        curves.add(str(number), 2, 2.0 * left)
        curves.end(str(number), finished=True)
    curves.add("new", 1, 1.0)
    assert curves.outlook("new") == pytest.approx((0.1, 0.3))


def test_too_little_is_known_to_say_anything(curves: Curves) -> None:
    assert curves.outlook("unheard of") is None
    curves.add("new", 3, 0.5)  # no finished trial had a third epoch
    assert curves.outlook("new") is None
    few = Curves("top1")
    for number in range(4):
        few.add(str(number), 1, 0.5)
        few.end(str(number), finished=True)
    few.add("new", 1, 0.5)
    assert few.outlook("new") is None


def test_a_stopped_trial_and_what_is_no_number_teach_nothing(curves: Curves) -> None:
    curves.add("stopped", 1, 0.5)
    curves.add("stopped", 2, 1.0)
    curves.end("stopped", finished=False)
    curves.add("new", 1, 0.8)
    curves.add("new", 2, math.nan)
    assert curves.outlook("new") == pytest.approx((0.98, 0.94))
