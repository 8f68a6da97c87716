"""For all tests."""

import pytest

from raytune_edge.errors import NoRuntimeError
from raytune_edge.runtimes.ncs2 import legacy_python


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, by name, what needs an environment that this host has no Python for."""
    if item.get_closest_marker("legacy"):
        try:
            legacy_python()
        except NoRuntimeError as error:
            pytest.skip(str(error))
