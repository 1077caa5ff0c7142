"""`Client`: apps on a server, asked as if they were here."""

from __future__ import annotations

import json
import os
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any, Self

from kauldron.apps.bundles import cases, results
from kauldron.apps.bundles.asking import AppVerbs, Progress
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.ports import Port
from kauldron.apps.bundles.results import Result
from kauldron.apps.client import _forms
from kauldron.apps.client._connection import Connection, ServerError

_WAIT_SECS = 600


class Client:
    """A server of apps.

    Args:
      url: Its address, such as `http://127.0.0.1:8001`.
      token: That of the server; `KAULDRON_APPS_TOKEN` unless given.
      patience_secs: How long a server is waited for that is busy or does not answer.

    Raises:
      MissingPackageError: If the extra `kauldron[apps]` is not installed.

    Example:

    ```python
    client = kd.apps.Client("http://127.0.0.1:8001")
    result = client.app("digits_app").infer("digit.png", out="out")
    ```
    """

    def __init__(
        self, url: str, token: str | None = None, *, patience_secs: float = 60.0
    ) -> None:
        self._connection = Connection(url, token, patience_secs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._connection.close()

    def apps(self) -> list[str]:
        """Returns the names of the apps that the server has."""
        return self._connection.ask("GET", "/repo_apps_list")["apps"]

    def app(self, name: str, *, device: str = "auto") -> RemoteApp:
        """Returns an app of the server.

        Args:
          name: As the server calls it.
          device: Where its jobs run: `auto` is one device that is free; `cpu`, or numbers
            of devices: `0,1`.

        Raises:
          AppError: If it has none of this name.
        """
        entry = self._connection.ask("GET", f"/repo_apps/{urllib.parse.quote(name)}")
        return RemoteApp(self._connection, name, entry, device)

    def jobs(self) -> list[dict[str, Any]]:
        """Returns what the server tells of its newest jobs, the last one first."""
        return self._connection.ask("GET", "/jobs")["jobs"]

    def job(self, job_id: str) -> dict[str, Any]:
        """Returns what the server tells of a job; its `status` says where it is."""
        return self._connection.ask("GET", f"/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancels a job that has not ended; returns what the server tells of it then."""
        return self._connection.ask("POST", f"/jobs/{job_id}/kill")

    def run_again(self, job_id: str) -> dict[str, Any]:
        """Runs a job again that the end of the server has interrupted."""
        return self._connection.ask("POST", f"/jobs/{job_id}/run_again")

    def fetch(self, job_id: str, *, out: str | os.PathLike[str]) -> Result:
        """Returns what a job gave, once it has ended.

        Args:
          job_id: The job.
          out: A new or empty folder for the results.

        Raises:
          AppError: If there is no such job, or the folder cannot be written.
          ServerError: If the job did not end well.
        """
        folder = results.make_out(out)
        self._connection.follow(job_id, lambda share, text: None)
        return self._connection.download(job_id, folder)


class RemoteApp(AppVerbs):
    """An app on a server; made by `Client.app`."""

    def __init__(
        self, connection: Connection, name: str, entry: Mapping[str, Any], device: str
    ) -> None:
        if not entry.get("available"):
            raise AppError(f"The server cannot read its app {name!r} any more.")
        self._connection = connection
        self._device = device
        self._is_warm = bool(entry.get("is_warm")) and device == "auto"
        self._manifest = Manifest.from_json(entry, f"the description of {name!r}")

    def inspect(self) -> Manifest:
        """Returns what the app says about itself."""
        return self._manifest

    def call(
        self,
        call: Call,
        *,
        out: str | os.PathLike[str],
        progress: Progress = lambda share, text: None,
    ) -> Result:
        """Does what a call asks, as the methods of the verbs do.

        Interrupted, it cancels the job.

        Args:
          call: What is asked.
          out: A new or empty folder for the results.
          progress: Called with how far it is, between 0 and 1, and that in words.

        Raises:
          AppError: If the app cannot do it; nothing was computed.
          ServerError: If the job did not end well.
        """
        call.check_trusted(self._manifest)
        call = call.check(self._manifest)
        form = self._form(call)
        with results.removed_if_nothing_came(out):
            return self._ask(call, form, results.make_out(out), progress)

    def _ask(
        self, call: Call, form: _forms.Form, folder: pathlib.Path, progress: Progress
    ) -> Result:
        prefer = {"Prefer": f"wait={_WAIT_SECS}"} if self._is_warm else {}
        path = f"/apps/{self._manifest.name}/{call.verb.replace('-', '_')}"
        with self._connection.submitted(path, form, prefer) as response:
            if response.status_code == 200:
                return self._connection.unpack(response, folder)
            response.read()
            job = response.json()
        if "accepted_options" not in job:
            raise ServerError("The server does not say which options it has accepted.")
        try:
            self._connection.follow(job["job_id"], progress)
        except KeyboardInterrupt:
            self._connection.ask("POST", f"/jobs/{job['job_id']}/kill")
            raise
        return self._connection.download(job["job_id"], folder)

    def _form(self, call: Call) -> _forms.Form:
        entry = call.to_json()
        names = ("verb", "inputs", "references", "masks", "data")
        options = {k: v for k, v in entry.items() if k not in names}
        fields = [("options", json.dumps(options))]
        if self._device == "cpu":
            fields.append(("cpu", "1"))
        elif self._device != "auto":
            fields.append(("gpu", self._device))
        parts: list[_forms.Part] = []
        tables = {port.name for port in self._ports() if port.kind == "table"}
        for number, case in enumerate(cases.cases_of(call, self._manifest)):
            for name, path in case.files.items():
                if number == 0 or name not in tables:  # which is one for all cases
                    parts += _forms.parts_of(_field(call, name), number, path)
        if call.data is not None:
            parts += _forms.parts_of("dataset", 0, call.data)
        return _forms.Form(fields, parts)

    def _ports(self) -> list[Port]:
        return [*self._manifest.inputs, *self._manifest.references]


def _field(call: Call, group: str) -> str:
    if group in call.inputs:
        return f"inputs.{group}"
    return f"references.{group}" if group in call.references else "masks"
