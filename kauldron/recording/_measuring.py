"""Computes the `Measured` of a step from states of losses, metrics and summaries."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from kauldron._base import console, problem_log
from kauldron.recording import _attempts, _step_states, measured
from kauldron.step import auxiliaries, measured_numbers, state_trees


def compute_numbers(
    aux: auxiliaries.AuxiliariesState, failures: list[state_trees.Failure]
) -> auxiliaries.AuxiliariesOutput:
    """Computes all but the summaries, nested as in the config."""
    return aux.compute_numbers(failures)


def with_summaries(
    output: auxiliaries.AuxiliariesOutput,
    aux: auxiliaries.AuxiliariesState,
    failures: list[state_trees.Failure],
) -> auxiliaries.AuxiliariesOutput:
    """Computes the summaries too, and returns them with the other values."""
    values = auxiliaries.flatten_names("summaries", aux.compute_summaries(failures))
    return dataclasses.replace(output, summary_values=values)


def to_measured(
    output: auxiliaries.AuxiliariesOutput,
    states: _step_states.StepStates,
    failures: list[state_trees.Failure],
    *,
    collection: str,
    parts: Mapping[str, _step_states.Part],
) -> measured.Measured:
    """Returns the record for the writers.

    Args:
      output: Computed values, with flat names.
      states: What they were computed from.
      failures: What could not be computed; takes what schedules raise, and summaries that
        nothing can show.
      collection: `train`, or the name of an evaluator.
      parts: The writers. Where all of them show nothing at all (`NoopWriter`), nothing is
        missed that nothing can show.
    """
    is_missed = not parts or not all(p.can_write("anything") for p in parts.values())
    schedules = state_trees.values_at_step(states.schedules, states.step, failures)
    scalars, arrays = split_numbers(output, schedules)
    timings = states.timings and {
        **states.timings,
        **output.throughputs(states.timings),
    }
    shown = {}
    for name, value in output.summary_values.items():
        try:
            measured.kind_of(name, value)
            shown[name] = value
        except measured.CannotShowError as e:
            keys = tuple(name.split("/")[1:])
            if is_missed:
                failures.append(state_trees.Failure("summaries", keys, e))
    return measured.Measured(
        scalars=scalars,
        arrays=arrays,
        timings=timings,
        summaries=shown,
        failures={f.where(collection): f.error for f in failures},
    )


def split_numbers(
    output: auxiliaries.AuxiliariesOutput, schedules: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns the scalars and the tables of numbers; one number with axes is a scalar.

    Raises:
      TypeError: If a metric is not a number.
    """
    values = {**output.loss_values, **output.raw_loss_values, **output.metric_values}
    numbers = {k: measured_numbers.to_numbers(k, v) for k, v in values.items()}
    numbers |= {f"schedules/{name}": value for name, value in schedules.items()}
    scalars = {k: float(v.item()) for k, v in numbers.items() if v.size == 1}
    return scalars, {k: v for k, v in numbers.items() if v.size != 1}


def without_place(
    writer: _step_states.Part,
    parts: Mapping[str, _step_states.Part],
    values: measured.Measured,
) -> list[measured.CannotShowError]:
    """Returns an error for each kind of values that no part of a writer can show."""
    return [
        measured.no_place_for(kind, names, writer=type(writer).__name__)
        for kind, names in values.names_by_kind().items()
        if parts and not any(part.can_write(kind) for part in parts.values())
    ]


def write_now(
    writer: _step_states.Part,
    parts: Mapping[str, _step_states.Part],
    states: _step_states.StepStates,
) -> auxiliaries.AuxiliariesOutput:
    """Computes and writes in this thread, for writers that belong to no run.

    Returns:
      The values, with flat names.

    Raises:
      Exception: See `Writer.write_step_metrics`.
    """
    failures: list[state_trees.Failure] = []
    # In every process: merging may need all of them.
    output = compute_numbers(states.aux, failures).flattened()
    if states.log_summaries:
        output = with_summaries(output, states.aux, failures)
    values = to_measured(
        output, states, failures, collection=writer.collection, parts=parts
    )
    if console.is_lead_host():
        calls = [
            functools.partial(x.write, states.step, values) for x in parts.values()
        ]
        if states.flush:
            calls += [part.flush for part in parts.values()]
        _attempts.call_all(calls)
    _tell(failures, writer.collection)
    _attempts.raise_all(without_place(writer, parts, values))
    return output


def _tell(failures: Sequence[state_trees.Failure], collection: str) -> None:
    """Reports what could not be computed, or raises it if nothing collects problems."""
    problems = problem_log.current()
    if problems is None:
        _attempts.raise_all([failure.error for failure in failures])
        return
    for failure in failures:
        what = failure.where(collection)
        problems.failed(what, failure.error, consequence="; the others are written")
