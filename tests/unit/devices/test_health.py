"""The ladder on trouble."""

from raytune_edge.devices.health import Health
from raytune_edge.errors import DeviceDiedError, NoDeviceError

DIED = DeviceDiedError("it ended")


def test_the_ladder_goes_from_a_fresh_child_to_quarantine() -> None:
    health = Health(quarantine_s=60.0)
    steps = [health.failed(DIED) for _ in range(6)]
    assert [step.pause_s for step in steps] == [0.0, 1.0, 4.0, 60.0, 120.0, 240.0]
    assert [step.reopen for step in steps] == [False, True, True, True, True, True]
    assert [step.quarantine for step in steps] == [False, False, False, True, True, True]


def test_quarantine_has_a_longest_time() -> None:
    health = Health(quarantine_s=60.0)
    assert max(health.failed(DIED).pause_s for _ in range(2000)) == 900.0


def test_a_measurement_ends_the_succession() -> None:
    health = Health(quarantine_s=60.0)
    for _ in range(10):
        health.failed(DIED)
    health.proved()
    assert health.failed(DIED).pause_s == 0.0


def test_one_model_that_goes_wrong_again_and_again_counts_once() -> None:
    health = Health(quarantine_s=60.0)
    for _ in range(10):
        health.suspect(7)
        assert health.failed(DIED).pause_s == 0.0
        health.passed()


def test_one_model_after_the_other_is_the_devices_fault_whatever_its_reference_says() -> None:
    health = Health(quarantine_s=60.0)
    steps = []
    for request in range(5):
        health.suspect(request)
        steps.append(health.failed(DIED))
        health.passed()
    assert [step.pause_s for step in steps] == [0.0, 1.0, 4.0, 60.0, 120.0]
    health.proved()
    assert health.failed(DIED).pause_s == 0.0


def test_a_device_that_is_not_there_is_quarantined_at_once() -> None:
    step = Health(quarantine_s=7.0).failed(NoDeviceError("no stick"))
    assert step.quarantine
    assert step.pause_s == 7.0
