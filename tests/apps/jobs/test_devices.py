"""Devices: one job each; what can never be had is told at once."""

from __future__ import annotations

import asyncio

import pytest

from kauldron.apps.jobs import _devices


def _some(count, platform="gpu"):
    return [
        _devices.Device(index=i, platform=platform, name="H", visible_as=f"{i + 4}")
        for i in range(count)
    ]


def test_automatic_is_one_free_device_and_not_all():
    devices = _devices.Devices(_some(2), 1)
    assert devices.take("auto") == "0"
    assert devices.take("auto") == "1"
    assert devices.take("auto") is None
    devices.give_back("0")
    assert devices.take("auto") == "0"


def test_several_devices_are_taken_together_or_not_at_all():
    devices = _devices.Devices(_some(3), 1)
    assert devices.take("1") == "1"
    assert devices.take("0,1") is None
    assert devices.take("2,0") == "0,2"
    assert devices.environment("0,2")["CUDA_VISIBLE_DEVICES"] == "4,6"


def test_the_cpu_can_be_had_beside_accelerators():
    devices = _devices.Devices(_some(1), 1)
    assert devices.take("cpu") == "cpu" and devices.take("cpu") is None
    assert devices.environment("cpu") == {
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert _devices.Devices([], 1).take("auto") == "cpu"


def test_warm_apps_keep_their_device():
    devices = _devices.Devices(_some(2), 1)
    assert devices.keep_one() == "0"
    assert devices.take("auto") == "1"
    with pytest.raises(_devices.NoDeviceError, match="keeps device 0"):
        devices.check("0,1")
    devices.give_back("1")
    devices.keep_one()
    with pytest.raises(_devices.NoDeviceError, match="keep all devices"):
        devices.check("auto")
    with pytest.raises(_devices.NoDeviceError, match="more warm apps than devices"):
        devices.keep_one()


@pytest.mark.parametrize(
    "asked, count, error",
    [
        ("7", 2, r"no device 7: there are \[0, 1\]"),
        ("0;rm", 2, "`auto`, `cpu` or numbers"),
        ("-1", 2, "numbers such as"),
        ("²", 2, "numbers such as"),
        (",", 2, "numbers such as"),
        ("0", 0, "has no accelerator"),
    ],
)
def test_devices_that_are_not_there_are_told(asked, count, error):
    with pytest.raises((_devices.DeviceError, _devices.NoDeviceError), match=error):
        _devices.Devices(_some(count), 1).check(asked)


def test_what_the_server_may_see_is_what_jobs_may_see():
    row = ["gpu", "H", 1]
    found = _devices._device(0, row, {"CUDA_VISIBLE_DEVICES": "3,GPU-5"})
    assert found.visible_as == "GPU-5"
    assert _devices._device(1, row, {}).visible_as == "1"


@pytest.mark.slow
def test_a_child_finds_the_devices_and_the_cpu_is_none():
    assert asyncio.run(_devices.find({"JAX_PLATFORMS": "cpu"})) == []
    assert asyncio.run(_devices.find({"JAX_PLATFORMS": "nonsense"})) == []
