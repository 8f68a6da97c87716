"""What the distributions of a HyperOpt space can draw."""

import math
from typing import Any

import hyperopt
import pytest
from ray import tune
from ray.tune.search.hyperopt import HyperOptSearch

from raytune_edge.search.documents import levels, limits, off_grid
from raytune_edge.space import ratio_grid

SPACE = {
    "ratio": ratio_grid(0.25, 3),
    "lr": tune.loguniform(0.01, 0.1),
    "criterion": tune.choice(["l1", "fpgm", "l2"]),
    "epochs": tune.randint(2, 5),
    "share": tune.uniform(0.2, 0.4),
    "free": tune.randn(),
}
POINT = {"ratio": 0.5, "lr": 0.03, "criterion": 1, "epochs": 4, "share": 0.3, "free": 9.0}


@pytest.fixture(scope="module")
def domain() -> hyperopt.Domain:
    return hyperopt.Domain(lambda space: space, HyperOptSearch.convert_search_space(SPACE))


def test_limits_and_levels(domain: hyperopt.Domain) -> None:
    found = {name: (limits(node), levels(node)) for name, node in domain.params.items()}
    assert found["ratio"] == ((-0.125, 0.875), [0.0, 0.25, 0.5, 0.75])
    assert found["criterion"] == ((0, 2), [0, 1, 2])
    assert found["epochs"] == ((2, 4), [2, 3, 4])
    assert found["share"] == ((0.2, 0.4), None)
    assert found["free"] == ((-math.inf, math.inf), None)
    assert found["lr"][0] == pytest.approx((0.01, 0.1))


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("ratio", (0.0, 0.75, 0.25 + 1e-9), (0.3, 1.0, -0.25)),
        ("lr", (0.01, 0.1), (0.0099, 0.11, 1.0)),
        ("criterion", (0, 2), (-1, 3)),
        ("epochs", (2, 4), (1, 5, 2.5)),
        ("share", (0.2, 0.4), (0.1, 0.5)),
        ("free", (-99.0, 99.0), ()),
    ],
)
def test_what_a_distribution_cannot_draw_is_off_the_grid(
    domain: hyperopt.Domain, name: str, inside: Any, outside: Any
) -> None:
    assert [off_grid(domain, {**POINT, name: value}) for value in inside] == [""] * len(inside)
    assert [off_grid(domain, {**POINT, name: value}) for value in outside] == [name] * len(outside)
