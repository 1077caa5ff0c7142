"""`Graph`: an ONNX graph that is built node by node from a traced program."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.export import _jaxprs
from kauldron.export._errors import ExportError
from kauldron.ktyping import DType

OPSET = 18
_IR_VERSION = 9


def stored_dtype(dtype: DType) -> np.dtype:
    """Returns the dtype that a value has in the graph.

    bf16 is f32 there: ONNX has it, but hardly any runtime computes in it.
    """
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if dtype == jnp.bfloat16 else dtype


class Graph:
    """An ONNX graph, as far as it is built.

    Values have names; a name stands for an array at run time.

    Attributes:
      scope: Modules that the nodes to come belong to.
      known: Name -> value, of those that are known already.
    """

    def __init__(self) -> None:
        self._helper, self._numpy_helper = _import()
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._sizes: dict[str, str] = {}
        self._taken: set[str] = set()
        self.scope = ""
        self.known: dict[str, np.ndarray] = {}

    def add_input(self, name: str, spec: jax.ShapeDtypeStruct) -> str:
        """Adds an input; its symbolic axes give the sizes of others their values."""
        self._taken.add(name)
        self._inputs.append(self._value_info(name, spec))
        for axis, size in enumerate(spec.shape):
            if str(size).isidentifier() and str(size) not in self._sizes:
                (value,) = self.add("Shape", [name], start=axis, end=axis + 1)
                self._sizes[str(size)] = value
        return name

    def add_weight(self, name: str, value: np.ndarray) -> str:
        """Adds an array that is stored in the file."""
        self._taken.add(name)
        return self._store(name, value)

    def constant(self, value: Any, dtype: DType | None = None) -> str:
        """Returns the name of a constant; equal ones are stored once."""
        array = np.asarray(value, dtype)
        array = array.astype(stored_dtype(array.dtype))
        name = f"constant_{array.dtype}_{array.shape}_{hash(array.tobytes()):x}"
        return name if name in self._initializers else self._store(name, array)

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        num_outputs: int = 1,
        **attrs: Any,
    ) -> list[str]:
        """Adds a node; returns the names of its outputs."""
        label = f"{self.scope or 'program'}/{operator}"
        outputs = [self._new_name(label) for _ in range(num_outputs)]
        self._nodes.append(
            self._helper.make_node(
                operator, list(inputs), outputs, name=outputs[0], **attrs
            )
        )
        return outputs

    def one(self, operator: str, *inputs: str, **attrs: Any) -> str:
        """Adds a node with one output; returns its name."""
        return self.add(operator, inputs, **attrs)[0]

    def cast(self, name: str, dtype: DType) -> str:
        """Returns a value in another dtype."""
        return self.one("Cast", name, to=self.element_type(dtype))

    def shape(self, sizes: Sequence[Any]) -> str:
        """Returns the name of a shape, `i64[n]`, of which sizes may be symbolic."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(list(sizes), np.int64)
        return self.one("Concat", *map(self.size, sizes), axis=0)

    def reshape(self, name: str, sizes: Sequence[Any]) -> str:
        """Returns a value in another shape."""
        symbolic = [not isinstance(size, int) for size in sizes]
        if sum(symbolic) == 1 and 0 not in sizes:  # what is left over
            sizes = [
                -1 if is_it else n for n, is_it in zip(sizes, symbolic, strict=True)
            ]
        return self.one("Reshape", name, self.shape(sizes))

    def size(self, size: Any) -> str:
        """Returns the name of a size, `i64[1]`, such as that of `2*b + 1`."""
        if isinstance(size, int):
            return self.constant([size], np.int64)
        return self._evaluate(ast.parse(str(size), mode="eval").body)

    def _evaluate(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=value):
                return self.constant([value], np.int64)
            case ast.Name(id=name) if name in self._sizes:
                return self._sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.one("Neg", self._evaluate(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                operator = _ARITHMETIC[type(op)]
                return self.one(operator, self._evaluate(left), self._evaluate(right))
            case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
                return self.one(_FUNCTIONS[name], *map(self._evaluate, args))
        raise ExportError(
            f"A size of an array, {ast.unparse(node)!r}, cannot be computed in ONNX "
            f"{_jaxprs.where(self.scope)}: export it for one `batch_size`."
        )

    def element_type(self, dtype: DType) -> int:
        """Returns the number that ONNX has for a dtype."""
        return self._helper.np_dtype_to_tensor_dtype(stored_dtype(dtype))

    def build(self, outputs: Mapping[str, tuple[str, Any]]) -> Any:
        """Returns the model.

        Args:
          outputs: Name of an output -> name of its value, and its shape and dtype.
        """
        infos = []
        for name, (value, spec) in outputs.items():
            self._nodes.append(self._helper.make_node("Identity", [value], [name]))
            infos.append(self._value_info(name, spec))
        graph = self._helper.make_graph(
            self._nodes, "model", self._inputs, infos, list(self._initializers.values())
        )
        opset = self._helper.make_opsetid("", OPSET)
        return self._helper.make_model(
            graph,
            opset_imports=[opset],
            ir_version=_IR_VERSION,
            producer_name="kauldron",
        )

    def _store(self, name: str, value: np.ndarray) -> str:
        array = np.array(value.astype(stored_dtype(value.dtype)), order="C")
        self._initializers[name] = self._numpy_helper.from_array(array, name)
        self.known[name] = array
        return name

    def _value_info(self, name: str, spec: Any) -> Any:
        sizes = [n if isinstance(n, int) else str(n) for n in spec.shape]
        return self._helper.make_tensor_value_info(
            name, self.element_type(spec.dtype), sizes
        )

    def _new_name(self, label: str) -> str:
        name, number = label, 1
        while name in self._taken:
            number += 1
            name = f"{label}_{number}"
        self._taken.add(name)
        return name


_ARITHMETIC: Mapping[type, str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
_FUNCTIONS: Mapping[str, str] = {"floordiv": "Div", "max": "Max", "min": "Min"}

# Graph, equation, names of its inputs -> names of its outputs, or of the only one.
Lowering = Callable[[Graph, Any, list[str]], list[str] | str]


def refuse(equation: Any, scope: str, why: str = "") -> ExportError:
    """Returns the error for an operator that is not written as ONNX."""
    name = equation.primitive.name
    return ExportError(
        f"The operator `{name}` {_jaxprs.where(scope)} is not written as ONNX"
        f"{f': {why}' if why else ''}. Export StableHLO instead, or write the model "
        "without it."
    )


def _import() -> tuple[Any, Any]:
    try:
        from onnx import helper, numpy_helper
    except ImportError as e:
        raise ImportError(
            "ONNX needs the packages `onnx` and `onnxruntime`: pip install "
            "'kauldron[onnx]'."
        ) from e
    return helper, numpy_helper
