"""`serve_lines`: answers calls line by line, in a process that stays loaded."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from kauldron._base import errors
from kauldron.apps.bundles._json_fields import Fields
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import tells_full_disk
from kauldron.apps.verbs.app import App


def serve_lines(
    app: App, source: IO[str] | None = None, target: IO[str] | None = None
) -> None:
    """Answers calls until the source ends.

    The first line that is written is `{"ready": true}`. Each line that is read is
    `{"id": ..., "call": {...}, "out": "DIR"}`. Lines `{"id": ..., "progress": 0.5,
    "message": ...}` follow, unless it has `"tells_progress": false`, and at last `{"id": ..., "result": {...}}`, or `{"id": ...,
    "error": {"code": "mistake", "message": ...}}`, where `mistake` is one of the call,
    `disk_full` says that there was no room for the results, and `failed` is anything else. What is printed meanwhile goes to stderr.

    Args:
      app: The app.
      source: Where calls come from; stdin unless given.
      target: Where answers go; stdout unless given.
    """
    lines = sys.stdin if source is None else source
    own = None
    if target is None:
        # Libraries that print must not get between the answers.
        own = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        target = own
    try:
        _write(target, {"ready": True})
        for line in lines:
            if line.strip():
                _answer(app, line, target)
    finally:
        if own is not None:
            sys.stdout.flush()
            os.dup2(own.fileno(), 1)
            own.close()


def _answer(app: App, line: str, target: IO[str]) -> None:
    request: Any = None
    try:
        request = json.loads(line)
        fields = Fields(request, "a line")
        call = Call.from_json(fields.take("call", dict))
        tag = _tag(request)

        tells_progress = fields.take("tells_progress", bool, True)

        def progress(share: float, text: str) -> None:
            if tells_progress:
                _write(target, {**tag, "progress": round(share, 4), "message": text})

        result = app.call(call, out=fields.take("out", str), progress=progress)
        _write(target, {**tag, "result": result.to_json()})
    except Exception as e:
        is_mistake = request is None or isinstance(e, errors.UserError)  # or no JSON
        code = "mistake" if is_mistake else "failed"
        if tells_full_disk(e):
            code = "disk_full"
        if code == "failed":
            import traceback

            traceback.print_exc()
        _write_error(target, request, code, e)


def _write_error(target: IO[str], request: Any, code: str, error: Exception) -> None:
    message = str(error) if code == "mistake" else f"{type(error).__name__}: {error}"
    _write(target, {**_tag(request), "error": {"code": code, "message": message}})


def _tag(request: Any) -> dict[str, Any]:
    has_id = isinstance(request, Mapping) and "id" in request
    return {"id": request["id"]} if has_id else {}


def _write(target: IO[str], entry: Mapping[str, Any]) -> None:
    print(json.dumps(entry), file=target, flush=True)
