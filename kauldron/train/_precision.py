"""Precision: the dtypes of parameters, of computation, and of what comes out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from kauldron import errors, optim
from kauldron.train import _loss_scale, _module_globs
from kauldron.utils import immutabledict

_FLOATS = ("float32", "bfloat16", "float16", "float64")
_PER_MODULE = ("params", "compute", "output")


class PrecisionError(errors.UserError, ValueError):
    """A precision that means nothing, or that would not train."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
    """Dtypes of a model, as a whole and by path.

    Floating values are cast where they enter a module, and parameters before the forward
    pass; other dtypes stay as they are. A module with a `dtype` of its own follows that.
    Variable collections such as `batch_stats` are not cast. Losses and metrics compute in
    f32 whatever they are given.

    Attributes:
      params: Dtype in which parameters are kept; gradients have it too.
      compute: Dtype of the inputs and parameters of every module.
      output: Dtype of `preds`.
      opt_state: Dtype in which the optimizer keeps its state; the update itself is
        computed in f32. Averages of parameters (`ema_params`) keep theirs. `None` leaves
        it to the optimizer.
      overrides: Glob of module paths -> dict with `params`, `compute` or `output`. It
        holds for all that is inside the module too, but for `output`; the last one that
        matches wins. `{'**.LayerNorm_*': {'compute': 'float32'}}`.
      loss_scale: Scales the loss so that small gradients don't vanish; needed for fp16.

    Raises:
      PrecisionError: If a name is no float dtype, or fp16 is used in a way that does not
        train.

    Reference: Micikevicius et al. 2018, Mixed Precision Training, arXiv:1710.03740.

    Example:

    ```python
    kd.train.Precision(
        compute="bfloat16", overrides={"**.norm": {"compute": "float32"}}
    )
    ```
    """

    params: Any = "float32"
    compute: Any = "float32"
    output: Any = "float32"
    opt_state: Any = None
    overrides: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    loss_scale: _loss_scale.DynamicLossScale | None = None

    def __post_init__(self) -> None:
        for name in _PER_MODULE:
            _check_dtype(name, getattr(self, name))
        if self.opt_state is not None:
            _check_dtype("opt_state", self.opt_state)
        for pattern, dtypes in self.overrides.items():
            for name, dtype in dtypes.items():
                where = f"overrides[{pattern!r}]"
                if name not in _PER_MODULE:
                    raise PrecisionError(
                        f"`Precision.{where}` has {name!r}, which is none of "
                        f"{list(_PER_MODULE)}.{errors.did_you_mean(name, _PER_MODULE)}"
                    )
                _check_dtype(f"{where}.{name}", dtype)
        object.__setattr__(self, "overrides", immutabledict.freeze(self.overrides))
        self._check_fp16()

    def _check_fp16(self) -> None:
        each = [self, *(_Overridden(dtypes) for dtypes in self.overrides.values())]
        if any(_is_fp16(x.params) for x in each):
            raise PrecisionError(
                "Parameters kept in float16 lose small updates: use `params='float32'` "
                "(or 'bfloat16') with `compute='float16'`."
            )
        if self.loss_scale is None and any(_is_fp16(x.compute) for x in each):
            raise PrecisionError(
                "Gradients vanish in float16 without loss scaling: set "
                "`loss_scale=kd.train.DynamicLossScale()`, or use "
                "`compute='bfloat16'`, which needs none."
            )

    def check_modules(self, paths: Iterable[_module_globs.ModulePath]) -> None:
        """Raises if a glob of `overrides` matches none of the paths of modules."""
        _module_globs.check(self.overrides, paths, field="cfg.precision.overrides")

    def cast_params(self, params: Any, *, use: str) -> Any:
        """Returns the parameters in the dtype they are kept in, or compute with.

        Args:
          params: Nested dicts of parameters.
          use: `'params'` or `'compute'`.
        """

        def cast(path: Any, x: Any) -> Any:
            names = tuple(str(getattr(key, "key", key)) for key in path)
            return _cast(x, self._dtype_of(names[:-1], use))

        return jax.tree_util.tree_map_with_path(cast, params)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Casts what enters and leaves the modules that are called in the block."""
        open_paths: list[_module_globs.ModulePath] = []

        def intercept(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
            path = tuple(context.module.path)
            # A module that calls its own methods is not entered again.
            if context.method_name == "setup" or open_paths[-1:] == [path]:
                return next_fun(*args, **kwargs)
            args, kwargs = _cast((args, kwargs), self._dtype_of(path, "compute"))
            open_paths.append(path)
            try:
                outputs = next_fun(*args, **kwargs)
            finally:
                open_paths.pop()
            return _cast(outputs, self._output_of(path))

        with nn.intercept_methods(intercept):
            yield

    def wrap_optimizer(
        self, optimizer: optax.GradientTransformation
    ) -> optax.GradientTransformation:
        """Returns the optimizer that keeps its state in `opt_state`, and skips overflows."""
        if self.opt_state is not None:
            optimizer = _keep_state_in(optimizer, jnp.dtype(self.opt_state))
        if self.loss_scale is not None:
            optimizer = self.loss_scale.wrap_optimizer(optimizer)
        return optimizer

    def _dtype_of(self, path: _module_globs.ModulePath, use: str) -> Any:
        dtype = getattr(self, use)
        for pattern, dtypes in self.overrides.items():
            if use in dtypes and _module_globs.is_within(pattern, path):
                dtype = dtypes[use]
        return dtype

    def _output_of(self, path: _module_globs.ModulePath) -> Any:
        """Returns the dtype of the outputs of a module; `None` leaves them."""
        dtype = None if path else self.output
        for pattern, dtypes in self.overrides.items():
            if "output" in dtypes and _module_globs.matches(pattern, path):
                dtype = dtypes["output"]
        return dtype


class _Overridden:
    def __init__(self, dtypes: Mapping[str, Any]) -> None:
        self.params = dtypes.get("params")
        self.compute = dtypes.get("compute")


def _check_dtype(name: str, dtype: Any) -> None:
    try:
        is_float = jnp.issubdtype(jnp.dtype(dtype), jnp.floating) and dtype is not None
    except TypeError:
        is_float = False
    if not is_float:
        hint = errors.did_you_mean(str(dtype), _FLOATS)
        raise PrecisionError(
            f"`Precision.{name}` must be a float dtype, such as 'bfloat16': got "
            f"{dtype!r}.{hint}"
        )


def _is_fp16(dtype: Any) -> bool:
    return dtype is not None and jnp.dtype(dtype) == jnp.float16


def _is_float(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray) and jnp.issubdtype(
        x.dtype, jnp.floating
    )


def _cast(tree: Any, dtype: Any) -> Any:
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: x.astype(dtype) if _is_float(x) else x, tree)


def _keep_state_in(
    optimizer: optax.GradientTransformation, dtype: Any
) -> optax.GradientTransformation:
    """Lets an optimizer compute in f32 and keep its state in another dtype."""
    optimizer = optax.with_extra_args_support(optimizer)
    to_f32 = functools.partial(_cast, dtype=jnp.float32)

    def init(params: Any) -> Any:
        return _cast_state(optimizer.init(to_f32(params)), dtype)

    def update(
        updates: Any, state: Any, params: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        updates, state = optimizer.update(
            to_f32(updates), to_f32(state), to_f32(params), **to_f32(extra_args)
        )
        return updates, _cast_state(state, dtype)

    return optax.GradientTransformationExtraArgs(init, update)


def _cast_state(state: Any, dtype: Any) -> Any:
    # An average in bf16 would not move: its steps are smaller than its last digit. For
    # the same reason, gradients are summed up in f32.
    def cast(x: Any) -> Any:
        if isinstance(x, optax.MultiStepsState):
            return x._replace(inner_opt_state=_cast_state(x.inner_opt_state, dtype))
        return x if isinstance(x, optim.EmaParamsState) else _cast(x, dtype)

    kinds = (optim.EmaParamsState, optax.MultiStepsState)
    return jax.tree.map(cast, state, is_leaf=lambda x: isinstance(x, kinds))
