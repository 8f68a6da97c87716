"""Measuring on one device: the child process, its parent, and the record that comes out."""

from raytune_edge.runtimes.instrument import (
    MAX_MODEL_BYTES,
    DeviceFacts,
    DeviceSpec,
    Instrument,
    check_model_bytes,
    read_model,
)

__all__ = [
    "MAX_MODEL_BYTES",
    "DeviceFacts",
    "DeviceSpec",
    "Instrument",
    "check_model_bytes",
    "device_spec",
    "read_model",
]


def device_spec(device: object) -> DeviceSpec:
    """The spec of ``device``: a name such as ``"CPU"``, a spec, or what has a ``spec()``.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(device, DeviceSpec):
        return device
    if isinstance(device, str) and device:
        return DeviceSpec(device=device)
    made = device.spec() if hasattr(device, "spec") else None
    if isinstance(made, DeviceSpec):
        return made
    raise ValueError(f"expected a device's name, a DeviceSpec or a FakeDevice, got {device!r}")
