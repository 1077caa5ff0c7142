"""`App`: an app on this machine, from Python."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from typing import Any, Self

from kauldron.apps.bundles import folders, results
from kauldron.apps.bundles.asking import AppVerbs, Progress
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.results import Result
from kauldron.apps.verbs import _configs, _layout, _opening, running


class App(AppVerbs):
    """An app on this machine.

    It stays loaded: what was compiled for a call is there for the next. What is asked is
    checked before anything is computed or written.

    Args:
      path: Its directory or zip, or the name of an installed app.
      trust_code: Whether code that comes with it, or that it names, may be run. Without,
        an app can name only what Kauldron, JAX and their kind define.

    Raises:
      AppError: If there is no app, it is damaged, or it needs code that is not trusted.

    Example:

    ```python
    app = kd.apps.App("digits_app")
    result = app.infer("digit.png", out="out")
    print(result.values["cases"]["digit"])
    ```
    """

    def __init__(
        self, path: str | os.PathLike[str], *, trust_code: bool = False
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._folder, self._manifest = self._stack.enter_context(folders.opened(path))
        self._trusted = _configs.trust(
            self._folder, self._manifest, trust_code=trust_code
        )
        self._opened: dict[Any, _opening.Opened] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Forgets what was loaded, and removes what was unpacked of a zip."""
        self._opened.clear()
        self._stack.close()

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
        """Does what a call asks, as the methods of the verbs do: see `AppVerbs.call`."""
        with results.removed_if_nothing_came(out):
            return self._call(call, out, progress)

    def _call(
        self, call: Call, out: str | os.PathLike[str], progress: Progress
    ) -> Result:
        call.check_trusted(self._manifest, self._trusted)
        if call.verb == "fine-tune":
            from kauldron.apps.verbs import fine_tuning

            return fine_tuning.fine_tune(
                call,
                self._folder,
                self._manifest,
                out,
                trusted=self._trusted,
                progress=progress,
            )
        planned = running.plan(call, self._manifest, lambda: results.OutFolder(out))
        return running.run_plan(planned, self._open(call), progress)

    @functools.cached_property
    def works_in_memory(self) -> bool:
        """Whether `call_in_memory` can be asked: not of an evaluator, nor of a table."""
        has_tables = any(port.kind == "table" for port in self._manifest.inputs)
        return not has_tables and not self._manifest.has_file(_layout.PREDICTS)

    def call_in_memory(
        self, call: Call, contents: Mapping[str, bytes]
    ) -> Mapping[str, bytes]:
        """Does what a call asks, with files in memory; nothing is written.

        Args:
          call: What is asked, no fine-tuning; its files are names in `contents`.
          contents: File -> bytes.

        Returns:
          Name of a file of the result -> bytes, `result.json` among them.

        Raises:
          AppError: If the app cannot do it; nothing was computed.
        """
        if not self.works_in_memory or call.verb == "fine-tune":
            raise AppError("This app needs its files, and a folder for what it makes.")
        call.check_trusted(self._manifest, self._trusted)
        out = results.OutMemory()
        planned = running.plan(call, self._manifest, lambda: out, contents)
        running.run_plan(planned, self._open(call))
        return out.files

    def _open(self, call: Call) -> _opening.Opened:
        key = tuple(sorted((k, repr(v)) for k, v in call.overrides.items()))
        if key not in self._opened:
            self._opened[key] = _opening.Opened(
                self._folder, self._manifest, call.overrides, self._trusted
            )
        return self._opened[key]
