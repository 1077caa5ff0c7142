"""Programs as ONNX: each operator of the traced program becomes nodes.

What has no counterpart is refused with its name. The numbers are compared with the model
by onnxruntime before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.extend.core
import numpy as np
from etils import epath

from kauldron._base import scan_parameters
from kauldron.export import (
    _jaxprs,
    _measure,
    _onnx_contractions,
    _onnx_operators,
    _spec,
)
from kauldron.export._errors import ExportError
from kauldron.export._onnx_graph import OPSET, Graph, refuse, stored_dtype
from kauldron.export._program import Program
from kauldron.ktyping import Array

_LOWERINGS = {**_onnx_operators.LOWERINGS, **_onnx_contractions.LOWERINGS}
_MAX_BYTES = 2**31 - 2**20  # of a protocol buffer
_MAX_UNROLLED = 512
_RANDOM = "random numbers have no counterpart"


class Built:
    """A program as ONNX, ready to be compared and written.

    Args:
      program: The program.
      weights: Name -> array, as trained.
      stored: Name -> array, as it is written: inside of the model.

    Attributes:
      outputs: Name -> shape and dtype.
      versions: What the program was made with, beside the packages.
    """

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, Array],
        stored: Mapping[str, Array],
    ) -> None:
        self._program, self._weights = program, weights
        num_bytes = sum(x.nbytes for x in stored.values())
        if num_bytes > _MAX_BYTES:
            raise ExportError(
                f"The weights have {num_bytes / 1e9:.3g} GB; a file of ONNX holds 2. "
                "Export StableHLO, or in int8."
            )
        specs = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in stored.items()}
        traced = program.trace(specs)
        graph = Graph()
        names = [graph.add_weight(name, stored[name]) for name in sorted(stored)]
        inputs = program.inputs.kept_specs
        names += [graph.add_input(name, inputs[name]) for name in sorted(inputs)]
        if program.takes_key:
            _refuse_randomness(traced.jaxpr)
        found = lower(graph, traced.jaxpr.jaxpr, traced.jaxpr.consts, names)
        info = traced.out_info
        # A value has one name in ONNX: inputs and outputs cannot share any.
        renamed = {k: f"preds.{k}" if k in inputs or k in stored else k for k in info}
        self._names = renamed
        self.outputs = {renamed[k]: x for k, x in info.items()}
        values = dict(zip(sorted(info), found, strict=True))
        self._model = graph.build({renamed[k]: (values[k], info[k]) for k in info})
        self.versions = {"onnx_opset": str(OPSET)}

    def compare(self, inputs: Mapping[str, Array]) -> dict[str, _measure.Difference]:
        """Returns how far predictions of onnxruntime are from the model's."""
        expected = _measure.run(self._program, self._weights, inputs)
        session = _session(self._model.SerializeToString())
        names = list(self._names.values())
        feeds = {k: _widened(x) for k, x in inputs.items()}
        actual = dict(zip(names, session.run(names, feeds), strict=True))
        found = _measure.differences(
            {self._names[k]: x for k, x in expected.items()}, actual
        )
        _measure.check(found)
        return found

    def write(self, folder: epath.Path) -> dict[str, Any]:
        """Writes the program; returns what the spec says of it."""
        path = folder / _spec.PROGRAM_FILES["onnx"]
        path.write_bytes(self._model.SerializeToString())
        return {"format": "onnx", "file": _spec.file_entry(path), "opset": OPSET}


def lower(
    graph: Graph,
    jaxpr: Any,
    constants: Sequence[Any],
    inputs: Sequence[str],
    wanted: Sequence[bool] | None = None,
) -> list[str]:
    """Adds the operators of a jaxpr to a graph; returns the names of its outputs.

    Args:
      graph: The graph.
      jaxpr: The program.
      constants: Its constants.
      inputs: Names of its inputs; empty for those that nothing reads.
      wanted: Which outputs are; the names of others are empty. All unless given.

    Raises:
      ExportError: Names an operator that is not written as ONNX.
    """
    names: dict[Any, str] = dict(zip(jaxpr.invars, inputs, strict=True))
    for variable, value in zip(jaxpr.constvars, constants, strict=True):
        names[variable] = graph.constant(np.asarray(value))

    def read(atom: Any) -> str:
        if isinstance(atom, jax.extend.core.Literal):
            aval: Any = atom.aval
            return graph.constant(np.asarray(atom.val, aval.dtype))
        return names.get(atom, "")

    outer = graph.scope
    wanted = [True] * len(jaxpr.outvars) if wanted is None else wanted
    for equation, of_it in _jaxprs.needed(jaxpr, wanted)[0]:
        graph.scope = f"{outer}/{equation.source_info.name_stack}".strip("/")
        values = [read(x) for x in equation.invars]
        found = _lower_one(graph, equation, values, of_it)
        found = [found] if isinstance(found, str) else found
        names.update(zip(equation.outvars, found, strict=True))
    graph.scope = outer
    return [
        read(x) if yes else "" for x, yes in zip(jaxpr.outvars, wanted, strict=True)
    ]


def _lower_one(
    graph: Graph, equation: Any, inputs: list[str], wanted: Sequence[bool]
) -> list[str] | str:
    name = equation.primitive.name
    if name in _jaxprs.CALLS:
        child = next(_jaxprs.children(equation))
        closed = isinstance(child, jax.extend.core.ClosedJaxpr)
        inner, constants = (child.jaxpr, child.consts) if closed else (child, ())
        return lower(graph, inner, constants, inputs, wanted)
    if name == "cond":
        return _chosen(graph, equation, inputs)
    if name == "scan":
        return _unrolled(graph, equation, inputs, wanted)
    if name == "platform_index":
        return graph.constant(_index_of_cpu(equation.params["platforms"]), np.int32)
    lowering = _LOWERINGS.get(name)
    if lowering is None:
        is_random = name.startswith("random_")
        raise refuse(equation, graph.scope, _RANDOM if is_random else "")
    return lowering(graph, equation, inputs)


def _chosen(graph: Graph, equation: Any, inputs: list[str]) -> list[str]:
    """Adds the branch that is taken, if that is known."""
    which, *operands = inputs
    if which not in graph.known:
        raise refuse(equation, graph.scope, "which branch is taken depends on values")
    branches = equation.params["branches"]
    branch = branches[int(np.clip(graph.known[which], 0, len(branches) - 1))]
    return lower(graph, branch.jaxpr, branch.consts, operands)


def _index_of_cpu(platforms: Sequence[Any]) -> int:
    """Returns which branch is for all platforms, or for the CPU."""
    for index, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return index
    return len(platforms) - 1


def _unrolled(
    graph: Graph, equation: Any, inputs: list[str], wanted: Sequence[bool]
) -> list[str]:
    """Adds the steps of a scan one after the other."""
    params = equation.params
    length, body = params["length"], params["jaxpr"]
    if not isinstance(length, int) or length > _MAX_UNROLLED:
        raise refuse(equation, graph.scope, f"it has {length} steps")
    num_fixed, num_carried = scan_parameters.counts(params)
    fixed = inputs[:num_fixed]
    carried = inputs[num_fixed : num_fixed + num_carried]
    sliced = inputs[num_fixed + num_carried :]
    of_step = _jaxprs.wanted_of_step(equation, wanted)
    is_read = _jaxprs.needed(body.jaxpr, of_step)[1][num_fixed + num_carried :]
    results: list[list[str]] = []
    steps = range(length)
    for step in reversed(steps) if params["reverse"] else steps:
        at = graph.constant(step, np.int64)
        rows = [
            graph.one("Gather", name, at, axis=0) if yes else ""
            for name, yes in zip(sliced, is_read, strict=True)
        ]
        values = [*fixed, *carried, *rows]
        found = lower(graph, body.jaxpr, body.consts, values, of_step)
        carried = found[:num_carried]
        results.append(found[num_carried:])
    if params["reverse"]:
        results.reverse()
    stacked = [
        _onnx_operators.stacked(graph, rows, axis=0)
        for rows in zip(*results, strict=True)
    ]
    return [*carried, *stacked]


def _refuse_randomness(jaxpr: Any) -> None:
    for operation in _jaxprs.operations(jaxpr):
        if operation.name in ("random_bits", "random_fold_in", "rng_bit_generator"):
            raise refuse(
                operation.equation,
                operation.scope,
                "random numbers have no counterpart",
            )


def _session(model: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise ImportError(
            "The ONNX program is checked by `onnxruntime`: pip install 'kauldron[onnx]'."
        ) from e
    try:
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise ExportError(
            f"onnxruntime cannot run the program: {str(e).strip().splitlines()[0]}. "
            "Export StableHLO instead."
        ) from e


def _widened(array: Array) -> np.ndarray:
    return np.asarray(array).astype(stored_dtype(array.dtype))
