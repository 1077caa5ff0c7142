"""`Program`: the forward pass of a model as a pure function of named arrays."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import export
from jax.experimental import checkify

from kauldron import step as step_lib
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.export import _jaxprs, _quantize
from kauldron.export._errors import ExportError
from kauldron.export._named_leaves import NamedLeaves, dotted, keyed
from kauldron.ktyping import Array, Int32, PyTree, UInt32
from kauldron.sharding import TrainState

# Index of a batch, state, batch -> predictions, without dropout.
Forward: TypeAlias = Callable[[Any, TrainState, Any], Any]

BATCH_AXIS = "b"
KEY_SPEC = jax.ShapeDtypeStruct((2,), "uint32")


def forward_of(
    model: Any,
    *,
    rng_streams: step_lib.RngStreams | None = None,
    precision: step_lib.Precision | None = None,
    method: str | Callable[..., Any] | None = None,
) -> Forward:
    """Returns the forward pass of a model, as an evaluator runs it.

    Args:
      model: Flax module.
      rng_streams: Random streams; those of evaluations are given.
      precision: Dtypes of the model.
      method: Method to call; `__call__` unless given.
    """
    streams = rng_streams or step_lib.RngStreams(seed=0)

    def forward(index: Int32[""], state: TrainState, batch: PyTree) -> Any:
        return step_lib.forward(
            step_lib.Context.from_state_and_batch(state=state, batch=batch),
            model=model,
            rngs=streams.eval_rngs(index),
            is_training=False,
            method=method,
            capture=False,
            precision=precision,
        ).preds

    return forward


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A forward pass whose weights and inputs have names; `program(weights, inputs)`.

    Attributes:
      forward: The forward pass.
      step: Number of updates that the weights have seen.
      weights: `params` and `collections` of the model, as far as they are read.
      inputs: The batch, as far as it is read.
      takes_key: Whether it draws random numbers: `program(weights, inputs, key)`.
    """

    forward: Forward
    step: int
    weights: NamedLeaves
    inputs: NamedLeaves
    takes_key: bool = True

    def __call__(
        self,
        weights: Mapping[str, Array],
        inputs: Mapping[str, Array],
        key: UInt32["2"] | None = None,
    ) -> dict[str, Array]:
        """Returns name -> prediction.

        Args:
          weights: Name -> array; one in int8 has its scale beside it.
          inputs: Name -> array.
          key: Key that random numbers come from.
        """
        variables = self.weights.unflatten(_quantize.decode(weights, self.weights))
        state = TrainState(step=jnp.int32(self.step), **variables)
        preds = self.forward(_index_from(key), state, self.inputs.unflatten(inputs))
        leaves = jax.tree_util.tree_leaves_with_path(preds)
        return {keyed(path) or "preds": jnp.asarray(x) for path, x in leaves}

    def trace(self, weights: Mapping[str, Any] | None = None) -> Any:
        """Returns the traced program: `jaxpr`, `out_info`, `lower()`.

        Args:
          weights: Specs of the weights as they are stored; as they are in the model,
            unless given.
        """
        return self.jitted().trace(*self.arguments(weights))

    def jitted(self) -> Any:
        """Returns a jitted function that is traced anew."""
        return jax.jit(lambda *args: self(*args))

    def arguments(self, weights: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        """Returns the specs of what it is called with."""
        specs = self.weights.kept_specs if weights is None else dict(weights)
        key = (KEY_SPEC,) if self.takes_key else ()
        return specs, self.inputs.kept_specs, *key


def make(
    forward: Forward, state: TrainState, batch: PyTree, *, batch_size: int | None
) -> Program:
    """Returns the program of a forward pass; nothing is compiled.

    Args:
      forward: The forward pass.
      state: Its weights, arrays or specs.
      batch: Arrays or specs of a batch.
      batch_size: Of all batches; `None` is any.

    Raises:
      ExportError: If something in the model cannot be exported; names the module.
    """
    variables = {"params": state.params, "collections": state.collections or {}}
    weights = NamedLeaves.of(variables, dotted)
    specs = data_utils.batch_specs(batch)
    program = Program(
        forward=forward,
        step=0 if isinstance(state.step, jax.ShapeDtypeStruct) else int(state.step),
        weights=weights,
        inputs=NamedLeaves.of(_resized(specs, batch_size), keyed),
    )
    traced = _trace(program, specs, batch_size)
    operations = list(_jaxprs.operations(traced.jaxpr))
    _jaxprs.check_callbacks(operations)
    _jaxprs.check_one_device(operations)
    if any(operation.name == "check" for operation in operations):
        # Each trace numbers the checks anew: two traces cannot be compared.
        program = dataclasses.replace(program, forward=without_checks(forward))
        traced = program.trace()
    else:
        _jaxprs.check_same(traced.jaxpr, program.trace().jaxpr)
    return _without_what_is_not_read(program, traced.jaxpr.jaxpr)


def _trace(program: Program, specs: PyTree, batch_size: int | None) -> Any:
    try:
        return program.trace()
    except errors.UserError:
        raise
    except Exception as e:
        detail = f"{type(e).__name__}: {str(e).strip().splitlines()[0]}"
        where = step_lib.module_errors.describe_module(e)
        found = f"{detail} ({where})" if where else detail
        if batch_size is None and _can_be_traced(program, specs):
            # `len` and `range` take nothing but an int.
            is_len = isinstance(e, TypeError) and "as an integer" in detail
            hint = (
                "Write `x.shape[0]` in place of `len(x)`, or export" if is_len else ""
            )
            raise ExportError(
                f"The model cannot take a batch of any size: {found}. "
                f"{hint or 'Export'} it for one size, `batch_size=8` or `--batch_size=8`."
            ) from e
        raise ExportError(
            f"The model cannot be traced: {found}. What it computes must depend on the "
            "shapes of its inputs, not on their values."
        ) from e


def _can_be_traced(program: Program, specs: PyTree) -> bool:
    """Whether it can be traced with a batch of a given size."""
    fixed = dataclasses.replace(program, inputs=NamedLeaves.of(specs, keyed))
    try:
        fixed.trace()
    except Exception as e:
        traceback.clear_frames(e.__traceback__)
        return False
    return True


def _without_what_is_not_read(program: Program, jaxpr: Any) -> Program:
    is_read = iter(_jaxprs.needed(jaxpr)[1])
    # As JAX flattens dicts: by sorted name.
    weights = [n for n in sorted(program.weights.kept_specs) if next(is_read)]
    inputs = [n for n in sorted(program.inputs.kept_specs) if next(is_read)]
    specs = program.inputs.specs
    is_any_size = any(map(_has_batch_axis, specs.values()))
    if is_any_size and not any(_has_batch_axis(specs[name]) for name in inputs):
        inputs = list(specs)  # the size of the batch is read from one of them
    return dataclasses.replace(
        program,
        weights=program.weights.keep(weights),
        inputs=program.inputs.keep(inputs),
        takes_key=next(is_read),
    )


def _has_batch_axis(spec: jax.ShapeDtypeStruct) -> bool:
    return any(export.is_symbolic_dim(size) for size in spec.shape)


def _resized(specs: PyTree, batch_size: int | None) -> Any:
    """Returns specs whose first axis has the size, or is symbolic."""
    scope = export.SymbolicScope()
    num_rows = [x.shape[0] for x in jax.tree.leaves(specs) if x.shape]
    of_most = max(set(num_rows), key=num_rows.count, default=None)
    (size,) = (
        export.symbolic_shape(BATCH_AXIS, scope=scope)
        if batch_size is None
        else (batch_size,)
    )

    def resize(spec: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        if not spec.shape or spec.shape[0] != of_most:
            return spec
        return jax.ShapeDtypeStruct((size, *spec.shape[1:]), spec.dtype)

    return jax.tree.map(resize, specs)


def _index_from(key: UInt32["2"] | None) -> Any:
    """Returns what takes the place of the index of a batch: 32 bits of the key."""
    if key is None:
        return jnp.int32(0)
    bits = jax.random.bits(jax.random.wrap_key_data(key, impl="threefry2x32"))
    return jax.lax.bitcast_convert_type(bits, jnp.int32)


def without_checks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function without the `checkify.check`s of the user."""
    checked = checkify.checkify(function, errors=frozenset())
    return lambda *args, **kwargs: checked(*args, **kwargs)[1]
