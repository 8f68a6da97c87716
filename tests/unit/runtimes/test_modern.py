"""What OpenVINO's errors are evidence of."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import raytune_edge

WORKER = Path(raytune_edge.__file__).parent / "runtimes" / "worker"


@pytest.fixture
def modern(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The child's module, imported as the child does: by its folder."""
    monkeypatch.syspath_prepend(str(WORKER))
    yield importlib.import_module("modern")
    for name in ("modern", "protocol", "loop"):
        sys.modules.pop(name, None)


def test_a_refusal_of_the_model_is_the_models_fault(modern: ModuleType) -> None:
    error = RuntimeError("Check 'x' failed\n\n-- No conversion rule found for operations: Foo-13\n")
    refused = modern.refusal(error, "OpenVINO cannot read this model")
    assert isinstance(refused, modern.UnsupportedModel)
    assert str(refused) == (
        "OpenVINO cannot read this model: -- No conversion rule found for operations: Foo-13"
    )


@pytest.mark.parametrize(
    "words", ["CL_OUT_OF_RESOURCES", "Device with name 'NPU' is not registered", "std::bad_alloc"]
)
def test_trouble_of_the_device_is_not(modern: ModuleType, words: str) -> None:
    refused = modern.refusal(RuntimeError(words), "OpenVINO cannot compile this model for GPU")
    assert not isinstance(refused, modern.UnsupportedModel)


@pytest.mark.parametrize("path", sorted(WORKER.glob("*.py")), ids=lambda path: path.name)
def test_the_child_is_written_in_the_python_of_2016(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 6))
