"""What OpenVINO's errors are evidence of."""

import ast
import gc
import importlib
import sys
import weakref
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
    for name in ("modern", "common", "protocol", "loop"):
        sys.modules.pop(name, None)


def test_a_refusal_of_the_model_is_the_models_fault(modern: ModuleType) -> None:
    error = RuntimeError("Check 'x' failed\n\n-- No conversion rule found for operations: Foo-13\n")
    refused = modern.refusal(error, "OpenVINO cannot read this model")
    assert isinstance(refused, modern.common.UnsupportedModel)
    assert str(refused) == (
        "OpenVINO cannot read this model: -- No conversion rule found for operations: Foo-13"
    )


@pytest.mark.parametrize(
    "words", ["CL_OUT_OF_RESOURCES", "Device with name 'NPU' is not registered", "std::bad_alloc"]
)
def test_trouble_of_the_device_is_not(modern: ModuleType, words: str) -> None:
    refused = modern.refusal(RuntimeError(words), "OpenVINO cannot compile this model for GPU")
    assert not isinstance(refused, modern.common.UnsupportedModel)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("precision", "Wrong value i8 for property key INFERENCE_PRECISION_HINT. Supported: f32"),
        ("threads", "Wrong value for property key INFERENCE_NUM_THREADS. Got: -3"),
    ],
)
def test_a_setting_that_the_plugin_refuses_is_the_callers_fault(
    modern: ModuleType, setting: str, words: str
) -> None:
    settings = {"precision": "i8", "threads": -3}
    with pytest.raises(modern.BadRequest, match=rf"CPU does not take Timing\({setting}=.*{words}"):
        modern.check_settings(RuntimeError(f"config.cpp:266:\n{words}\n"), "CPU", settings)
    modern.check_settings(RuntimeError("No conversion rule found"), "CPU", settings)


def test_a_request_is_freed_without_a_search_for_cycles(modern: ModuleType) -> None:
    class Native:
        def start_async(self) -> None: ...

        def wait(self) -> None: ...

    model = modern.Model.__new__(modern.Model)
    model._request, model._property = Native, lambda name, default: 2
    gc.disable()
    try:
        made = model.requests()
        natives = [weakref.ref(each.start.__self__) for each in made]
        assert len(natives) == 2
        del made
        assert [each() for each in natives] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("path", sorted(WORKER.glob("*.py")), ids=lambda path: path.name)
def test_the_child_is_written_in_the_python_of_2016(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 6))
