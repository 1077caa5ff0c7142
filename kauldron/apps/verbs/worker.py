"""`serve_lines`: answers calls line by line, in a process that stays loaded."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from kauldron._base import errors
from kauldron.apps.bundles._json_fields import Fields
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError, tells_full_disk
from kauldron.apps.verbs.app import App

# Larger results in memory are refused: they belong into files.
_MAX_ANSWER_BYTES = 2**20


def serve_lines(
    app: App, source: BinaryIO | None = None, target: BinaryIO | None = None
) -> None:
    """Answers calls until the source ends.

    The first line that is written is `{"ready": true, "works_in_memory": true}`. Each line
    that is read is `{"id": ..., "call": {...}, "out": "DIR"}`. Lines `{"id": ...,
    "progress": 0.5, "message": ...}` follow, unless it has `"tells_progress": false`, and at
    last `{"id": ..., "result": {...}}`, or `{"id": ..., "error": {"code": "mistake",
    "message": ...}}`, where `mistake` is one of the call, `disk_full` says that there was no
    room for the results, and `failed` is anything else. What is printed meanwhile goes to
    stderr.

    If it works in memory, a line may have `"contents": {"a.png": 340}` in place of `out`: so
    many bytes of each file follow it, one file after the other. The answer is `{"id": ...,
    "contents": {"result.json": 512, ...}}`, which the files of the result follow; the error
    `too_large` says that they are more than 1 MiB.

    Args:
      app: The app.
      source: Where calls come from; stdin unless given.
      target: Where answers go; stdout unless given.
    """
    lines = sys.stdin.buffer if source is None else source
    own, is_frozen = None, False
    if target is None:
        # Libraries that print must not get between the answers.
        own = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        target = own
        _compute_in_this_thread()
    try:
        _write(target, {"ready": True, "works_in_memory": app.works_in_memory})
        while line := lines.readline():
            if line.strip():
                _answer(app, line, lines, target)
                if own is not None and not is_frozen:
                    # What was loaded for the first call stays, and is not looked at again.
                    gc.freeze()
                    is_frozen = True
    finally:
        if own is not None:
            sys.stdout.flush()
            os.dup2(own.fileno(), 1)
            own.close()


def _compute_in_this_thread() -> None:
    """Spares a process that waits for each result the way to another thread and back."""
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def _answer(app: App, line: bytes, source: BinaryIO, target: BinaryIO) -> None:
    request: Any = None
    try:
        request = json.loads(line)
        fields = Fields(request, "a line")
        contents = _contents(fields, source)
        call = Call.from_json(fields.take("call", dict))
        tag = _tag(request)
        if contents is not None:
            files = app.call_in_memory(call, contents)
            _write_contents(target, tag, files)
            return
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
        message = str(e) if code == "mistake" else f"{type(e).__name__}: {e}"
        _write_error(target, request, code, message)


def _contents(fields: Fields, source: BinaryIO) -> dict[str, bytes] | None:
    """Returns the files that follow a line; `None` if it tells of none."""
    sizes = fields.optional("contents", dict)
    if sizes is None:
        return None
    found = {}
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise AppError(
                f"`contents` says how many bytes {name!r} has: got {size!r}."
            )
        found[name] = source.read(size)
        if len(found[name]) < size:
            raise AppError(f"The bytes of {name!r} end too early.")
    return found


def _write_contents(
    target: BinaryIO, tag: Mapping[str, Any], files: Mapping[str, bytes]
) -> None:
    sizes = {name: len(content) for name, content in files.items()}
    if sum(sizes.values()) > _MAX_ANSWER_BYTES:
        _write_error(target, tag, "too_large", "The result is large: give `out`.")
        return
    line = f"{json.dumps({**tag, 'contents': sizes})}\n".encode()
    target.write(b"".join([line, *files.values()]))
    target.flush()


def _write_error(target: BinaryIO, request: Any, code: str, message: str) -> None:
    _write(target, {**_tag(request), "error": {"code": code, "message": message}})


def _tag(request: Any) -> dict[str, Any]:
    has_id = isinstance(request, Mapping) and "id" in request
    return {"id": request["id"]} if has_id else {}


def _write(target: BinaryIO, entry: Mapping[str, Any]) -> None:
    target.write(f"{json.dumps(entry)}\n".encode())
    target.flush()
