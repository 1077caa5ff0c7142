"""The host does not run far ahead of the devices."""

import pytest

from kauldron.train import _updates


class _Devices:
    """Devices that need some time for each step, one after the other."""

    def __init__(self):
        self.now = self.done_at = 0.0
        self.num_waits = 0

    def dispatch(self, secs):
        self.done_at = max(self.done_at, self.now) + secs
        self.now += 1e-4  # of the host

    def block_until_ready(self):
        self.num_waits += 1
        self.now = max(self.now, self.done_at)


def _run(secs_of_steps):
    """Returns the devices, and by how much the host was ahead at most."""
    devices = _Devices()
    pace = _updates.Pace(clock=lambda: devices.now)
    furthest = 0.0
    for secs in secs_of_steps:
        pace.keep(devices)
        devices.dispatch(secs)
        furthest = max(furthest, devices.done_at - devices.now)
    return devices, furthest


@pytest.mark.parametrize("secs", [0.3, 0.9, 25.0])
def test_slow_steps_are_at_most_a_second_or_one_step_ahead(secs):
    _, furthest = _run([secs] * 40)
    assert furthest <= max(1.0, secs)


def test_fast_steps_are_waited_for_once_a_second():
    devices, furthest = _run([2e-3] * 20_000)  # 40 s
    assert furthest <= 1.01
    assert devices.num_waits <= 40 + 11  # and while the rate is found out


def test_steps_that_become_slow_are_noticed():
    devices, _ = _run([1e-3] * 5_000)
    pace = _updates.Pace(clock=lambda: devices.now)
    ahead = []
    for secs in [1e-3] * 5_000 + [5.0] * 2_000:
        pace.keep(devices)
        devices.dispatch(secs)
        ahead.append(devices.done_at - devices.now)
    assert max(ahead[-500:]) <= 5.0
