"""`run_call`: does what a call asks of an app, into a folder."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kauldron.apps.bundles import cases as cases_lib
from kauldron.apps.bundles import results
from kauldron.apps.bundles.asking import Progress
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.results import Result, ResultFile
from kauldron.apps.verbs import _opening, _values
from kauldron.evals import file_prediction as files_lib

Out: TypeAlias = results.OutFolder | results.OutMemory

# Where a pipeline puts what; a single verb puts it into the folder itself.
PREDICTIONS = "predictions"
UNCERTAINTY = "uncertainty"
EVALUATION = "evaluation"
METRICS_FILE = "metrics.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A call that was checked: cases and folders are known, nothing was computed.

    Attributes:
      call: With the names of inputs filled in.
      manifest: Of the app.
      members: Names of the members that predict.
      request: What they are asked.
      out: Where results go.
    """

    call: Call
    manifest: Manifest
    members: tuple[str, ...]
    request: files_lib.FileRequest
    out: Out


def plan(
    call: Call,
    manifest: Manifest,
    make_out: Callable[[], Out],
    contents: Mapping[str, bytes] = types.MappingProxyType({}),
) -> Plan:
    """Returns what has to be done; makes the folder.

    Args:
      call: What is asked.
      manifest: Of the app.
      make_out: Returns where results go; called when the call is found to be right.
      contents: File of the call -> its bytes, if it is in memory.

    Raises:
      AppError: If the app cannot do it, a file does not exist, or the folder cannot be
        written.
    """
    call = call.check(manifest)
    cases = cases_lib.cases_of(call, manifest, contents)
    members = call.members(manifest)
    is_uncertain = call.verb == "uncertainty" or call.with_uncertainty
    out = make_out()
    is_pipeline = call.verb == "pipeline"
    request = files_lib.FileRequest(
        cases={case.name: case.files for case in cases},
        predictions=_inside(out, PREDICTIONS, is_pipeline)
        if call.verb in ("infer", "pipeline")
        else None,
        doubts=_inside(out, UNCERTAINTY, is_pipeline) if is_uncertain else None,
        measures=call.measures,
        copies=call.tta,
        dropouts=call.mc,
        contents=contents,
    )
    return Plan(call=call, manifest=manifest, members=members, request=request, out=out)


def run_plan(
    planned: Plan,
    opened: _opening.Opened,
    progress: Progress = lambda share, text: None,
) -> Result:
    """Does what was planned; returns what is in the folder then."""
    cases, request = planned.request.cases, planned.request
    inside = f"{planned.out.path.as_posix()}/"
    progress(0.0, f"{len(cases)} case{'s' if len(cases) != 1 else ''}")
    files: list[ResultFile] = []
    by_case: dict[str, Any] = {}
    overall: dict[str, Any] = {}
    for number, result in enumerate(opened.predict(planned.members, request), 1):
        for file in result.files:
            path = file.path.as_posix().removeprefix(inside)
            if file.content is not None:
                planned.out.write(path, file.content)
            files.append(
                ResultFile(
                    path=path, kind=file.kind, output=file.output, case=result.case
                )
            )
        if result.case is None:
            overall = _values.plain_values(result.values)
            continue
        by_case[result.case] = _values.plain_values(result.values)
        if number <= len(cases):  # of a table, there are more: its rows
            progress(number / (len(cases) + 1), f"case {number} of {len(cases)}")
    values = {
        "cases": {case: x for case, x in by_case.items() if x},
        "overall": overall,
    }
    if request.measures:
        files.append(_write_metrics(planned, values))
    result = Result(
        out=planned.out.path,
        verb=planned.call.verb,
        app={"name": planned.manifest.name, "version": planned.manifest.version},
        applied={
            "members": list(planned.members),
            "tta": request.copies,
            "mc": request.dropouts,
            "overrides": dict(planned.call.overrides),
        },
        cases=tuple(by_case),
        files=tuple(files),
        values={name: x for name, x in values.items() if x},
    )
    planned.out.write(results.FILE, result.to_bytes())
    progress(1.0, "done")
    return result


def _write_metrics(planned: Plan, values: Mapping[str, Any]) -> ResultFile:
    is_pipeline = planned.call.verb == "pipeline"
    text = json.dumps(values, indent=1, ensure_ascii=False)
    path = f"{EVALUATION}/{METRICS_FILE}" if is_pipeline else METRICS_FILE
    planned.out.write(path, f"{text}\n".encode())
    return ResultFile(path=path, kind="table", output="metrics")


def _inside(out: Out, name: str, is_inside: bool) -> pathlib.Path:
    return out.make_folder(name) if is_inside else out.path
