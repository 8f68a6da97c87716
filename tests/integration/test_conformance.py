"""Every device that we ship passes the suite that we ask of others."""

from raytune_edge.testing import DeviceConformance, FakeDevice


class TestOpenVINOOnTheCPU(DeviceConformance):
    device = "CPU"


class TestFake(DeviceConformance):
    device = FakeDevice(ms_per_megabyte=1.0)
