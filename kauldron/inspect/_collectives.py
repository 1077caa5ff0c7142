"""The collectives of a compiled program: what devices send each other, in bytes.

Read from the text of the optimized HLO, which has what the compiler really does. A
computation counts as often as it is called: the body of a loop as many times as the
compiler knows that it runs.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kauldron.inspect import _replica_groups

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)

# `%name = type op(operands), attributes`; the type of several results is a tuple.
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\S+) (?P<op>[a-z][\w-]*)\("
)
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) \(.*\{\s*$")
_ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|true_computation|false_computation)=%?([\w.-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_LOOP = re.compile(r"\b(condition|body)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SOURCE = re.compile(r'op_name="([^"]*)"')
_BITS = re.compile(r"(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """A collective of a step.

    Attributes:
      kind: `all-reduce`, `all-gather`, `reduce-scatter`, `all-to-all`,
        `collective-permute`, or `collective-broadcast`.
      arrays: Dtype and shape of each result on a device, such as `f32[16,64]`.
      num_bytes: Of the whole that one call is about: the gathered array of an
        all-gather, the array before it is scattered, the array that is summed, sent or
        exchanged, on one device.
      group_size: How many devices take part together.
      mesh_axes: Axes of the mesh along which they do.
      num_calls: How often a step does it.
      is_count_known: Whether that is so; a loop of unknown length counts once.
      source: Where it comes from, such as `jit(step)/transpose(jvp(Mlp))/dot_general`.
    """

    kind: str
    arrays: tuple[str, ...]
    num_bytes: int
    group_size: int
    mesh_axes: tuple[str, ...]
    num_calls: int
    is_count_known: bool
    source: str

    @property
    def num_bytes_sent(self) -> float:
        """What a device sends for one call, if devices form a ring.

        Of S bytes on n devices, `(n - 1) / n * S` for an all-gather, a reduce-scatter, or
        an all-to-all; twice that for an all-reduce, which is one after the other; S for
        a permutation.

        Reference: Thakur, Rabenseifner, Gropp 2005, Optimization of Collective
        Communication Operations in MPICH, sections 4.1 to 4.5, without latencies; the
        same factors as the bus bandwidth of nccl-tests.
        """
        share = (self.group_size - 1) / self.group_size
        if self.kind == "all-reduce":
            return 2 * share * self.num_bytes
        if self.kind in ("collective-permute", "collective-broadcast"):
            return self.num_bytes
        return share * self.num_bytes


def read(hlo: str, mesh: Mapping[str, int]) -> tuple[Collective, ...]:
    """Returns the collectives of a program, those that send most first.

    Args:
      hlo: Text of the optimized program, `compiled.as_text()`.
      mesh: Axis -> number of devices, in the order of the devices of the program.
    """
    computations, entry = _computations(hlo)
    found: collections.Counter[Collective] = collections.Counter()
    for name, (count, is_known) in _counts(computations, entry).items():
        for line in computations[name]:
            collective = _collective(line, mesh, is_known)
            if collective is not None:
                found[collective] += count
    counted = (dataclasses.replace(c, num_calls=n) for c, n in found.items())
    return tuple(
        sorted(counted, key=lambda c: c.num_bytes_sent * c.num_calls, reverse=True)
    )


def from_dict(values: Mapping[str, Any]) -> Collective:
    """Returns a collective of what JSON has made of its fields, and of others."""
    known = {field.name: values[field.name] for field in dataclasses.fields(Collective)}
    lists = {name: tuple(known[name]) for name in ("arrays", "mesh_axes")}
    return Collective(**{**known, **lists})


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """Returns name -> instructions, and the name of the one that is run."""
    computations: dict[str, list[str]] = {}
    entry, current = "", None
    for line in hlo.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head["name"], [])
            entry = head["name"] if head["entry"] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None:
            current.append(line)
    return computations, entry


class _Count(NamedTuple):
    """How often a computation is run in a step."""

    number: int
    is_known: bool


def _counts(computations: dict[str, list[str]], entry: str) -> dict[str, _Count]:
    counts = {entry: _Count(1, True)} if entry else {}
    # The text has what is called before what calls it, and the entry as the last.
    for name in reversed(computations):
        if name not in counts:
            continue
        number, is_known = counts[name]
        for line in computations[name]:
            for called, trips, are_known in _calls(line):
                before = counts.get(called, _Count(0, True))
                counts[called] = _Count(
                    before.number + number * trips,
                    before.is_known and is_known and are_known,
                )
    return {name: count for name, count in counts.items() if name in computations}


def _calls(line: str) -> Iterator[tuple[str, int, bool]]:
    """Yields what an instruction calls, how often, and whether that is known."""
    if " while(" in line:
        trips = _TRIPS.search(line)
        for _, name in _LOOP.findall(line):
            yield name, int(trips[1]) if trips else 1, trips is not None
        return
    for name in _CALLED.findall(line):
        yield name, 1, True
    for branches in _BRANCHES.findall(line):
        for name in branches.split(","):
            yield name.strip().lstrip("%"), 1, True


def _collective(
    line: str, mesh: Mapping[str, int], is_count_known: bool
) -> Collective | None:
    found = _INSTRUCTION.match(line)
    if found is None:
        return None
    # In two halves, the first one says everything.
    kind, is_start = found["op"].removesuffix("-start"), found["op"].endswith("-start")
    if kind not in KINDS:
        return None
    num_devices = math.prod(mesh.values())
    groups = _replica_groups.read(line, num_devices)
    is_permutation = kind == "collective-permute"
    group_size = 2 if is_permutation else len(groups[0])
    if group_size == 1 or (is_permutation and all(a == b for a, b in groups)):
        return None
    arrays = _results(found["type"], kind, is_start)
    num_bytes = sum(map(_num_bytes, arrays))
    if kind == "reduce-scatter":
        num_bytes *= group_size
    source = _SOURCE.search(line)
    return Collective(
        kind=kind,
        arrays=tuple(f"{dtype}[{dims}]" for dtype, dims in arrays),
        num_bytes=num_bytes,
        group_size=group_size,
        mesh_axes=_replica_groups.mesh_axes_of(groups, mesh),
        num_calls=0,
        is_count_known=is_count_known,
        source=source[1] if source else "",
    )


def _results(text: str, kind: str, is_start: bool) -> list[tuple[str, str]]:
    """Returns dtype and dimensions of what a collective gives."""
    arrays = _ARRAY.findall(re.sub(r"\{[^}]*\}|/\*.*?\*/", "", text))
    if is_start and kind == "all-gather":  # (operands, results)
        return arrays[len(arrays) // 2 :]
    if is_start and kind == "collective-permute":  # (operand, result, contexts)
        return arrays[1:2]
    return arrays


def _num_bytes(array: tuple[str, str]) -> int:
    dtype, dims = array
    bits = _BITS.search(dtype)  # `pred` has none, and takes a byte
    num_bits = int(bits[1]) if bits else 8
    size = math.prod(int(n) for n in dims.split(",") if n)
    return -(-size * num_bits // 8)
