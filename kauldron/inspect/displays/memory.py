"""Where the memory of a step goes, and what is on the devices now."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from kauldron import kontext
from kauldron._base import text_tables
from kauldron.inspect import (
    _live_bytes,
    _lowered_step,
    _sharding_table,
    _step_places,
    _step_report,
)
from kauldron.inspect.displays.sections import Sections
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron import train

_COLUMNS = ("name", "array", "bytes", "size")


def step_memory(
    trainer: train.Trainer,
    *,
    depth: int | None = 1,
    num: int = 10,
    compiles: bool | None = None,
) -> Sections:
    """Returns where the bytes of a training step go, on each device; nothing runs.

    Sections: `"Parts"`, what `estimate_memory` returns; `"Modules"`, the bytes that are
    kept for the parameters of each; `"Largest arrays"` of state and batch, by key;
    `"At the peak"`, the largest values that the step makes, with the module that makes
    them. The last is of the program before it is compiled: the compiler may join what is
    listed, or compute it in another order.

    Args:
      trainer: The run.
      depth: How many names of the path of a module are told apart; all if `None`.
      num: How many arrays are listed.
      compiles: As for `estimate_memory`.

    Raises:
      NoStepError: A `ValueError`: the run makes no updates, or has no batches.
    """
    step, (state, batch) = _lowered_step.as_function(trainer)
    rows = _lowered_step.batch_rows(trainer)
    estimate = _step_report.estimate_memory(trainer, compiles=compiles)
    held = _live_bytes.held_at_peak(step, state, batch, rows)
    arrays = dict(_arrays(state, batch))
    return Sections(
        parts={
            "Parts": estimate,
            "Modules": _by_module(arrays, depth),
            "Largest arrays": _largest(arrays, num),
            "At the peak": _at_peak(held, _step_places.Places.of(trainer), num),
        }
    )


def live_arrays(**holders: PyTree) -> Table:
    """Returns what is on the devices of this process now, by who holds it.

    Arrays that none of the holders has are listed by shape: what is still held by
    variables of a notebook, by its outputs (`Out`), or by a traceback.

    Args:
      **holders: Name -> what may hold arrays, such as `state=state, batch=batch`. The
        fields of a state are told apart.

    Example:

    ```python
    kd.inspect.live_arrays(state=state, batch=batch)
    ```
    """
    owners: dict[int, str] = {}
    for name, tree in holders.items():
        for path, leaf in kontext.flatten_with_path({name: tree}).items():
            parts = kontext.Path.from_str(str(path)).parts[:2]
            if isinstance(leaf, jax.Array):
                owners.setdefault(id(leaf), str(kontext.Path(*parts)))
    groups: dict[str, list[jax.Array]] = collections.defaultdict(list)
    for array in jax.live_arrays():
        owner = owners.get(id(array), f"other {kontext.format_spec(array)}")
        groups[owner].append(array)
    held = [(name, len(x), sum(map(_bytes_here, x))) for name, x in groups.items()]
    held.sort(key=lambda row: -row[2])
    total = sum(size for *_, size in held)
    return Table(
        title="Arrays on the devices of this process now",
        columns=("held by", "arrays", "bytes", "size"),
        rows=tuple((*row, text_tables.format_bytes(row[2])) for row in held),
        notes=(f"{text_tables.format_bytes(total)} in all", *_of_devices()),
    )


def _bytes_here(array: jax.Array) -> int:
    return sum(shard.data.nbytes for shard in array.addressable_shards)


def _of_devices() -> Iterator[str]:
    """Yields what the allocators of the devices say; that of a CPU says nothing."""
    for device in jax.local_devices():
        found = device.memory_stats() or {}
        if "bytes_in_use" in found:
            names = {"in use": "bytes_in_use", "at most": "peak_bytes_in_use"}
            told = ", ".join(
                f"{text_tables.format_bytes(found[key])} {word}"
                for word, key in names.items()
                if key in found
            )
            yield f"{device}: {told}"


def _arrays(state: Any, batch: PyTree) -> Iterator[tuple[str, Any]]:
    parts = {
        "params": state.params,
        "collections": state.collections,
        "opt_state": state.opt_state,
        "batch": batch,
    }
    for path, x in kontext.flatten_with_path(parts).items():
        if hasattr(x, "shape"):
            yield str(path), x


def _largest(arrays: Mapping[str, Any], num: int) -> Table:
    sizes = {name: _sharding_table.bytes_of(x)[1] for name, x in arrays.items()}
    names = sorted(sizes, key=lambda name: -sizes[name])
    rows = [
        (
            name,
            kontext.format_spec(arrays[name]),
            sizes[name],
            text_tables.format_bytes(sizes[name]),
        )
        for name in names[:num]
    ]
    rest = sum(sizes[name] for name in names[num:])
    more = f"{text_tables.format_bytes(rest)} in {len(names[num:])} smaller arrays"
    return Table(
        title="Largest arrays of state and batch, on each device",
        columns=_COLUMNS,
        rows=tuple(rows),
        notes=(more,) if rest else (),
    )


def _by_module(arrays: Mapping[str, Any], depth: int | None) -> Table:
    """Returns a row for each module: its parameters, and what is kept beside them."""
    of_params = {
        kontext.Path.from_str(name).parts[1:]
        for name in arrays
        if name.startswith("params.")
    }
    found: dict[str, dict[str, int]] = {}
    for name, x in arrays.items():
        part, *parts = kontext.Path.from_str(name).parts
        if part == "batch":
            continue
        # The optimizer keeps trees like that of the parameters: the end of a path is one.
        ends = (tuple(parts[i:]) for i in range(len(parts)))
        path = next((end for end in ends if end in of_params), ())
        module = str(kontext.Path(*path[:-1][:depth])) or "(others)"
        sizes = found.setdefault(module, {})
        sizes[str(part)] = sizes.get(str(part), 0) + _sharding_table.bytes_of(x)[1]
    rows = []
    for module, sizes in found.items():
        params = sizes.get("params", 0)
        kept = sizes.get("opt_state", 0) + sizes.get("collections", 0)
        total = 2 * params + kept  # gradients are as large as parameters
        shown = text_tables.format_bytes(total)
        rows.append((module, params, params, kept, total, shown))
    rows.sort(key=lambda row: -row[4])
    return Table(
        title="Bytes kept for the parameters of each module, on each device",
        columns=("module", "params", "gradients", "optimizer, others", "all", "size"),
        rows=tuple(rows),
    )


def _at_peak(
    held: list[_live_bytes.Held], places: _step_places.Places, num: int
) -> Table:
    largest = sorted(held, key=lambda one: -one.num_bytes)
    rows = []
    for one in largest[:num]:
        place = places.read(one.scope)
        rows.append(
            (
                place.name(),
                "backward" if place.is_backward else "forward",
                one.equation.primitive.name,
                kontext.format_spec(one.aval),
                one.num_bytes,
                text_tables.format_bytes(one.num_bytes),
            )
        )
    rest = sum(one.num_bytes for one in largest[num:])
    more = f"{text_tables.format_bytes(rest)} in {len(largest[num:])} smaller values"
    return Table(
        title="Largest values that are there at the peak, on each device",
        columns=("module", "pass", "operation", "array", "bytes", "size"),
        rows=tuple(rows),
        notes=(more,) if rest else (),
    )
