"""Test tuning scripts without hardware, and devices against what all devices must do."""

from raytune_edge.testing.conformance import DeviceConformance
from raytune_edge.testing.fake_device import FakeDevice, Fault

__all__ = ["DeviceConformance", "FakeDevice", "Fault"]
