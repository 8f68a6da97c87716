"""Measuring on one device: the child process, its parent, and the record that comes out."""

from raytune_edge.runtimes.instrument import DeviceFacts, Instrument
from raytune_edge.runtimes.models import MAX_MODEL_BYTES, check_model_bytes, read_model
from raytune_edge.runtimes.spec import DeviceSpec, device_spec

__all__ = [
    "MAX_MODEL_BYTES",
    "DeviceFacts",
    "DeviceSpec",
    "Instrument",
    "check_model_bytes",
    "device_spec",
    "read_model",
]
