"""Calls that a warm app answers in memory: no folder, no file, no job."""

from __future__ import annotations

import dataclasses

from kauldron.apps.http import _forms, _places, _uploads
from kauldron.apps.http._service import AppCall, Service
from kauldron.apps.jobs import _workers
from kauldron.apps.jobs._served import ServedApp

# The folder in which a call has its files, wherever that is.
_FOLDER = "inputs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """A form that is in memory.

    Attributes:
      form: What was sent.
      place: Has its files.
    """

    form: _uploads.Form
    place: _places.InMemory


async def read(call: AppCall, service: Service) -> Given:
    """Reads a form into memory: see `read_form`."""
    place = _places.InMemory()
    form = await _uploads.read_form(call, place, service.limits, _forms.takes_file)
    return Given(form=form, place=place)


async def answer(
    service: Service, app: ServedApp, verb: str, given: Given
) -> dict[str, bytes] | None:
    """Returns the files of a result; `None` if the call has to be done with files.

    Raises:
      AppError: If the app cannot do it.
      WorkerError: If it was not done.
    """
    asked = _forms.read(verb, given.form, _FOLDER, app.manifest)
    asked.call.check_trusted(app.manifest)
    runner = service.supervisor.runner
    if given.form.has_folders or not runner.is_warm(app.name, verb, asked.device):
        return None
    contents = {f"{_FOLDER}/{k}": x for k, x in given.place.contents().items()}
    try:
        return await runner.answer_in_memory(app.name, asked.call, contents)
    except _workers.NeedsFilesError:
        return None
