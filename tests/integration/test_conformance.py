"""Every device that we ship passes the suite that we ask of others."""

from typing import ClassVar

import pytest

from raytune_edge.runtimes import DeviceSpec
from raytune_edge.runtimes.ncs2 import environment_folder
from raytune_edge.testing import DeviceConformance, FakeDevice


class TestOpenVINOOnTheCPU(DeviceConformance):
    device = "CPU"


@pytest.mark.legacy
class TestOpenVINO2021OnTheCPU(DeviceConformance):
    """The runtime of the stick, on the device of it that needs no hardware."""

    device = DeviceSpec(
        device="CPU", runtime="legacy", python=str(environment_folder() / "bin" / "python")
    )
    limits: ClassVar = {"max_s": 0.5}


class TestFake(DeviceConformance):
    device = FakeDevice(ms_per_megabyte=1.0)


class TestFakeStick(DeviceConformance):
    device = FakeDevice(sticks=1, ms_per_megabyte=1.0)
