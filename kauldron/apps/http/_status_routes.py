"""What a server says about itself: apps, devices, memory; and the page."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import urllib.parse
import zipfile
from typing import Any

from kauldron._base import host_memory
from kauldron.apps.bundles import manifest as manifests
from kauldron.apps.http._errors import HttpError
from kauldron.apps.http._service import AppCall, Service, send_files
from kauldron.apps.jobs._served import ServedApp

_PAGE = pathlib.Path(__file__).with_name("page.html")
# Nothing from elsewhere, and in nobody else's frame.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_SMI_SECS = 10.0


async def page(call: AppCall, service: Service) -> None:
    """Sends the page, which is the same for everybody."""
    del service
    await call.reply_text(
        _PAGE.read_text("utf-8"),
        "text/html; charset=utf-8",
        content_security_policy=_POLICY,
        x_content_type_options="nosniff",
        referrer_policy="no-referrer",
    )


async def health(call: AppCall, service: Service) -> None:
    """Tells that the server answers."""
    await call.reply(
        {"status": "ok", "active_jobs": service.supervisor.table.num_active()}
    )


async def devices(call: AppCall, service: Service) -> None:
    """Lists the accelerators."""
    found = await _found(service)
    await call.reply(
        {
            "devices_index": [device.index for device in found],
            "devices_name": [device.name for device in found],
        }
    )


async def ram(call: AppCall, service: Service) -> None:
    """Tells the memory of the machine."""
    del service
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    await call.reply(_memory(total - host_memory.free_bytes(), total))


async def vram(call: AppCall, service: Service) -> None:
    """Tells the memory of accelerators: `?devices=0&devices=1`."""
    found = {str(device.index): device for device in await _found(service)}
    asked = urllib.parse.parse_qs(call.query).get("devices", [])
    if not asked:
        raise HttpError(422, "Say which devices: `?devices=0`.")
    for name in asked:
        if name not in found:
            raise HttpError(
                400, f"There is no device {name[:20]!r}: there are {list(found)}."
            )
    if any(found[name].platform != "gpu" for name in asked):
        raise HttpError(503, "Only GPUs of NVIDIA tell how much memory is used.")
    visible = ",".join(found[name].visible_as for name in asked)
    command = ["nvidia-smi", "--query-gpu=memory.used,memory.total", f"--id={visible}"]
    told = await asyncio.to_thread(
        subprocess.run,
        [*command, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=_SMI_SECS,
    )
    rows = [line.split(",") for line in told.stdout.splitlines()]
    used, total = (sum(int(row[i]) * 2**20 for row in rows) for i in (0, 1))
    await call.reply(_memory(used, total))


async def apps(call: AppCall, service: Service) -> None:
    """Lists the apps."""
    await call.reply({"apps": list(service.apps)})


async def app(call: AppCall, service: Service) -> None:
    """Tells what an app is, takes, gives and can do."""
    await call.reply(_describe(service, service.app(call.path_params["app"])))


async def app_config(call: AppCall, service: Service) -> None:
    """Sends the description and the config of an app, without its weights."""
    found = service.app(call.path_params["app"])
    files = [(manifests.FILE, found.path / manifests.FILE)]
    files += [
        (name, found.path / name)
        for name in found.manifest.files
        if name.endswith((".json", ".py", ".md"))
    ]
    if zipfile.is_zipfile(found.path):
        raise HttpError(409, "This app is served from a zip: its files are not sent.")
    if not all(path.is_file() for _, path in files):
        raise HttpError(409, f"The app {found.name!r} has changed since the start.")
    await send_files(call, files, f"{found.name}_config.zip", [])


def _describe(service: Service, found: ServedApp) -> dict[str, Any]:
    if not found.is_readable():
        return {"name": found.name, "available": False}
    entry = found.manifest.to_json()
    verbs = [x for x in found.manifest.verbs if not found.manifest.foreign_code(x)]
    warm = service.supervisor.runner.is_warm(found.name, "infer", "auto")
    return {
        **entry,
        "files": {},
        "available": True,
        "checkpoints": list(found.manifest.members),
        "tta": found.manifest.max_tta,
        "mc": found.manifest.max_mc,
        "capabilities": verbs,
        "finetunable": "fine-tune" in verbs,
        "is_warm": warm,
    }


async def _found(service: Service) -> tuple[Any, ...]:
    devices = await service.supervisor.runner.found_devices()
    return devices.found


def _memory(used: int, total: int) -> dict[str, float]:
    return {"used_gb": round(used / 1e9, 2), "total_gb": round(total / 1e9, 2)}
