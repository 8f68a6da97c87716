"""One Ray for the whole test session."""

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray with two CPUs and two units of the resource ``ncs``."""
    ray.init(
        address="local",
        num_cpus=2,
        resources={"ncs": 2},
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
