"""What one ``except`` clause catches."""

import pytest

from raytune_edge import errors


@pytest.mark.parametrize(
    "kind",
    [
        errors.NoDeviceError,
        errors.DeviceBusyError,
        errors.DeviceTimeoutError,
        errors.DeviceDiedError,
        errors.ModelProofError,
        errors.UnsupportedModelError,
        errors.ParityError,
    ],
)
def test_a_device_error_is_whatever_ends_a_measurement(kind: type[Exception]) -> None:
    with pytest.raises(errors.DeviceError, match="why"):
        raise kind("why")


def test_outputs_that_differ_are_an_error_of_the_export_as_well() -> None:
    assert issubclass(errors.ParityError, errors.ExportError)


@pytest.mark.parametrize("kind", [errors.TaskError, errors.PlanError, errors.CalibrationError])
def test_a_bad_argument_is_a_value_error_as_well(kind: type[Exception]) -> None:
    assert issubclass(kind, ValueError)


def test_every_error_is_ours() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.RaytuneEdgeError), name
