"""The routes of jobs: taken, followed, ended, their results."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import pathlib
import re
from collections.abc import AsyncGenerator
from typing import Any

from kauldron._base.web_calls import Headers, sse_text
from kauldron.apps.bundles import archives, cases, results
from kauldron.apps.http import _forms, _places, _quick, _uploads
from kauldron.apps.http._errors import HttpError
from kauldron.apps.http._service import (
    AppCall,
    Service,
    links,
    send_contents,
    send_file,
    send_files,
)
from kauldron.apps.jobs import _processes, _workers
from kauldron.apps.jobs._folders import JobFolder
from kauldron.apps.jobs._served import ServedApp
from kauldron.apps.jobs._table import Job, State
from kauldron.apps.jobs.limits import Limits

_MAX_WAIT_SECS = 600.0
_NUM_LISTED = 100
_SMALL = 2**20
_WAIT = re.compile(r"(?:^|[,;]\s*)wait=(\d+)\b")
# What a browser may show; all else is only saved.
_SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif")


async def submit(call: AppCall, service: Service) -> None:
    """Takes a job: `POST /apps/APP/VERB`.

    With the header `Prefer: wait=SECONDS`, the answer is the result if it is there by
    then; a warm app answers without a job, and what is small touches no disk.
    """
    app = service.app(call.path_params["app"])
    verb = call.path_params["verb"].replace("_", "-")
    app.manifest.check_verb(verb)
    app.manifest.check_trusted(verb)
    secs, runner = _wait_secs(call), service.supervisor.runner
    is_small = _check_room(call, service) < _SMALL
    in_memory = is_small and bool(secs) and runner.is_warm(app.name, verb, "auto")
    if not in_memory and not app.is_readable():
        raise HttpError(503, f"The app {app.name!r} cannot be read any more.")
    state = service.supervisor.state
    with service.supervisor.admitted():
        given = None
        if in_memory and runner.may_work_in_memory(app.name):
            given = await _quick.read(call, service)
            found = await _quick.answer(service, app, verb, given)
            if found is not None:
                await send_contents(call, found, f"{app.name}.zip", _applied(call))
                return
        async with state.upload(is_small=is_small, in_memory=in_memory) as upload:
            asked = await _read(call, service, app, verb, upload, given)
            asked.call.check_trusted(app.manifest)
            runner.check_device(asked.device, app.name, verb)
            if secs and runner.is_warm(app.name, verb, asked.device):
                upload = await _answered(service, app.name, asked, upload)
                await _send_result(call, upload, app.name)
                return
            job = service.supervisor.submit(upload, app.name, asked.call, asked.device)
    if secs and await _ends_within(service, job.id, secs):
        await result(call, service, job.id)
        return
    await call.reply({**links_of(job), "accepted_options": asked.accepted()}, 202)


async def jobs(call: AppCall, service: Service) -> None:
    """Lists the newest jobs."""
    newest = service.supervisor.table.newest(_NUM_LISTED)
    await call.reply({"jobs": [service.describe(job) for job in newest]})


async def job(call: AppCall, service: Service) -> None:
    """Tells where a job is."""
    await call.reply(service.describe(service.job(call.path_params["job"])))


async def logs(call: AppCall, service: Service) -> None:
    """Sends what a job prints as server-sent events, from `Last-Event-ID` on."""
    found = service.job(call.path_params["job"])
    last = call.headers.get("last-event-id", "0").strip() or "0"
    if not (last.isascii() and last.isdecimal() and len(last) < 16):
        raise HttpError(400, "`Last-Event-ID` is the id of an event: a number.")
    if service.num_streams >= service.limits.max_streams:
        raise HttpError(429, "Too many logs are followed: try again later.")
    service.num_streams += 1
    try:
        await call.stream(_events(service, found, int(last)))
    finally:
        service.num_streams -= 1


async def _events(
    service: Service, job: Job, after: int
) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n"
    async for lines in service.supervisor.follow(job.id, after):
        yield b"".join(
            sse_text(_processes.without_folders(line), behind) for behind, line in lines
        )
        after = lines[-1][0]
    if service.supervisor.may_print(job.id):
        return
    ended = service.supervisor.table.get(job.id)
    if ended is None or ended.state.is_active:
        return  # the server ends: the client comes again, and goes on
    told = "__DONE__"
    if ended.state is not State.DONE:
        told = f"__ERROR__ {ended.error or ended.state}"
    yield sse_text(told, after, event="end")


async def result(call: AppCall, service: Service, job_id: str | None = None) -> None:
    """Sends what a job gave, as a zip: 202 while there is nothing yet."""
    found = service.job(job_id or call.path_params["job"])
    if found.state.is_active:
        await call.reply(service.describe(found), 202)
        return
    _check_done(found)
    with service.supervisor.retention.reading(found.id) as folder:
        await _send_result(call, folder, found.app)


async def files(call: AppCall, service: Service) -> None:
    """Lists what a job gave, with `result.json`."""
    found = service.job(call.path_params["job"])
    _check_done(found)
    folder = service.supervisor.state.job(found.id)
    entries = [
        {"name": name, "bytes": path.stat().st_size} for name, path in folder.results()
    ]
    value = json.loads((folder.out / results.FILE).read_text("utf-8"))
    await call.reply({"files": entries, "result": value})


async def file(call: AppCall, service: Service) -> None:
    """Sends one file that a job gave."""
    found = service.job(call.path_params["job"])
    _check_done(found)
    name = call.path_params["name"]
    with service.supervisor.retention.reading(found.id) as folder:
        path = dict(folder.results()).get(name)
        if path is None:
            raise HttpError(404, f"The job gave no file {name[:100]!r}.")
        guessed = mimetypes.guess_type(name)[0]
        kind = guessed if guessed in _SHOWN else "application/octet-stream"
        await send_file(call, path, str(kind).encode())


async def kill(call: AppCall, service: Service) -> None:
    """Cancels a job, whatever it does; one that has ended stays as it is."""
    found = service.job(call.path_params["job"])
    await service.supervisor.cancel(found.id)
    await call.reply(service.describe(service.job(found.id)))


async def run_again(call: AppCall, service: Service) -> None:
    """Runs a job again that was interrupted by the end of a server."""
    found = service.job(call.path_params["job"])
    if not service.supervisor.run_again(found.id):
        raise HttpError(409, f"Only interrupted jobs run again: this is {found.state}.")
    await call.reply(service.describe(service.job(found.id)), 202)


async def remove(call: AppCall, service: Service) -> None:
    """Removes a job that has ended, and its files."""
    found = service.job(call.path_params["job"])
    if not service.supervisor.retention.remove(found.id):
        raise HttpError(409, "The job has not ended, or its files are being sent.")
    await call.reply({"job_id": found.id, "removed": True})


def links_of(job: Job) -> dict[str, Any]:
    """Returns the first part of what a client is told of a new job."""
    return {"job_id": job.id, "status": str(job.state), **links(job.id)}


async def _read(
    call: AppCall,
    service: Service,
    app: ServedApp,
    verb: str,
    upload: JobFolder,
    given: _quick.Given | None,
) -> _forms.Asked:
    """Reads what is asked, unless it is given; its files are in the folder then."""
    if given is None:
        place = _places.OnDisk(upload.inputs)
        takes_file = _forms.takes_file
        form = await _uploads.read_form(call, place, service.limits, takes_file)
    else:
        given.place.write_to(upload.inputs)
        form = given.form
    if "dataset" in form.files:
        await _unpack_dataset(form, upload.inputs, service.limits)
    asked = _forms.read(verb, form, upload.inputs.name, app.manifest)
    if asked.call.data is None and form.has_folders:
        # How many cases they are, only their files say.
        whole = asked.call.inside(upload.path)
        await asyncio.to_thread(cases.cases_of, whole, app.manifest)
    return asked


async def _unpack_dataset(
    form: _uploads.Form, inputs: pathlib.Path, limits: Limits
) -> None:
    (name, *more) = form.files["dataset"]
    if more:
        raise HttpError(422, "`dataset` is one zip, or one folder.")
    if (inputs / name).is_file():
        folder = inputs / "data"
        folder.mkdir()
        await asyncio.to_thread(archives.unpack, inputs / name, folder, limits)
        (inputs / name).unlink()
        form.files["dataset"] = {folder.name: None}


def _check_room(call: AppCall, service: Service) -> int:
    """Refuses a body for which there is no room, before it is read; returns its length.

    A length that is not told is a large one.
    """
    length = call.headers.get("content-length", "")
    if not length.isdecimal():
        return service.limits.max_request_bytes
    if int(length) > service.supervisor.state.free_bytes():
        raise HttpError(507, "The disk of the server is too full for this request.")
    return int(length)


def _wait_secs(call: AppCall) -> float:
    found = _WAIT.search(call.headers.get("prefer", ""))
    return min(float(found[1][:9]), _MAX_WAIT_SECS) if found else 0.0


async def _answered(
    service: Service, app: str, asked: _forms.Asked, upload: JobFolder
) -> JobFolder:
    """Lets a warm app answer; returns the folder, with the results.

    What has no room in memory is done once more on the disk.
    """
    runner, state = service.supervisor.runner, service.supervisor.state
    try:
        await runner.answer(app, asked.call, upload)
    except _workers.DiskFullError:
        moved = state.on_disk(upload)
        if moved is upload:
            raise
        upload = moved
        await runner.answer(app, asked.call, upload)
    return upload


async def _ends_within(service: Service, job_id: str, secs: float) -> bool:
    try:
        await asyncio.wait_for(service.supervisor.wait(job_id), secs)
    except TimeoutError:
        return False
    return not service.job(job_id).state.is_active


def _check_done(job: Job) -> None:
    if job.state is State.DONE:
        return
    told = {
        State.FAILED: job.error,
        State.CANCELLED: "The job was cancelled: there is no result.",
        State.INTERRUPTED: job.error,
    }.get(job.state, "The job has not ended: there is no result yet.")
    raise HttpError(409, told, f"job_{job.state}")


async def _send_result(call: AppCall, folder: JobFolder, name: str) -> None:
    await send_files(call, folder.results(), f"{name}.zip", _applied(call))


def _applied(call: AppCall) -> Headers:
    return [(b"preference-applied", b"wait")] if _wait_secs(call) else []
