"""Mixed precision: dtypes of parameters, of computation, and of outputs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from kauldron import modules
from kauldron._base import arguments, errors, frozen_dict
from kauldron.ktyping import Array, DType, PyTree
from kauldron.step import _loss_scale, _module_globs, _stored_state

_FLOATS = ("float32", "bfloat16", "float16", "float64")
_PER_MODULE = ("params", "compute", "output")


# What `cfg.precision=bf16` stands for.
_PRESETS: dict[str, dict[str, Any]] = {
    "bf16": {"compute": "bfloat16"},
    "fp16": {"compute": "float16", "loss_scale": _loss_scale.DynamicLossScale()},
    "f32": {},
}


class PrecisionError(errors.UserError, ValueError):
    """An invalid precision, or one that would not train."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision(arguments.NamesArguments):
    """Dtypes of a model, as a whole and by path.

    Floating values are cast where they enter a module, and parameters before the forward
    pass; other dtypes stay as they are, and what a `kd.nn.KVCache` keeps. A module with its own `dtype` follows that.
    Variable collections such as `batch_stats` are not cast. Losses and metrics compute in
    f32 whatever they are given.

    Attributes:
      params: Dtype in which parameters are kept; gradients have it too. Updates of
        parameters in bf16 are rounded at random, so that small ones are not lost, and
        their optimizer state is f32.
      compute: Dtype of the inputs and parameters of every module.
      output: Dtype of `preds`.
      opt_state: Dtype in which the optimizer keeps first moments (of Adam, Lion, Muon,
        SGD with momentum, ...), `'bfloat16'` or `'float32'`; in bf16 they are rounded at
        random. Everything else that it keeps is f32 then: second moments, averages of
        parameters, accumulated gradients, hyperparameters. The update itself is computed
        in f32 always. `None` leaves the state to the optimizer.
      overrides: Glob of module paths -> dict with `params`, `compute` or `output`. It
        also applies to everything inside the module, except `output`; the last match
        wins. `{'**.LayerNorm_*': {'compute': 'float32'}}`.
      loss_scale: Scales the loss so that small gradients don't vanish; needed for fp16.

    Raises:
      PrecisionError: If a name isn't a float dtype, or fp16 is used in a way that does
        not train.

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

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Returns the precision that a short name stands for.

        In all of them parameters, their optimizer state and `preds` are f32. The trainer
        takes the names too: `--cfg.precision=bf16`.

        Args:
          name: `'bf16'` computes in bfloat16. `'fp16'` computes in float16, with a
            `DynamicLossScale()`. `'f32'` computes in f32, as all defaults do.

        Raises:
          PrecisionError: If it is none of these.
        """
        if not isinstance(name, str) or name not in _PRESETS:
            spelled_out = {"bfloat16": "bf16", "float16": "fp16", "float32": "f32"}
            near = spelled_out.get(str(name))
            hint = f" Did you mean {near!r}?" if near else ""
            raise PrecisionError(
                "`precision` must be a `kd.train.Precision(...)`, a name in "
                f"{list(_PRESETS)}, or None: got {name!r}."
                f"{hint or errors.did_you_mean(str(name), _PRESETS)}"
            )
        return cls(**_PRESETS[name])

    def __post_init__(self) -> None:
        for name in _PER_MODULE:
            _check_dtype(name, getattr(self, name))
        if self.opt_state is not None:
            _check_dtype("opt_state", self.opt_state)
            if jnp.dtype(self.opt_state) not in (jnp.bfloat16, jnp.float32):
                raise PrecisionError(
                    "`Precision.opt_state` must be 'bfloat16' or 'float32': got "
                    f"{self.opt_state!r}, in which small moments would vanish, or which "
                    "takes more memory than the update is exact to."
                )
        for pattern, dtypes in self.overrides.items():
            for name, dtype in dtypes.items():
                where = f"overrides[{pattern!r}]"
                if name not in _PER_MODULE:
                    raise PrecisionError(
                        f"`Precision.{where}` has {name!r}, which is none of "
                        f"{list(_PER_MODULE)}.{errors.did_you_mean(name, _PER_MODULE)}"
                    )
                _check_dtype(f"{where}.{name}", dtype)
        object.__setattr__(self, "overrides", frozen_dict.freeze(self.overrides))
        self._check_fp16()

    def _check_fp16(self) -> None:
        each = [self, *(_Overridden(dtypes) for dtypes in self.overrides.values())]
        if any(_is_fp16(x.params) for x in each):
            raise PrecisionError(
                "Parameters kept in float16 lose small updates: use `params='float32'` "
                "with `compute='float16'`."
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

    def cast_params(self, params: PyTree, *, use: str) -> Any:
        """Returns the parameters in the dtype they are kept in, or compute with.

        Args:
          params: Nested dicts of parameters.
          use: `'params'` or `'compute'`.
        """

        def cast(path: tuple[Any, ...], x: Array) -> Any:
            names = tuple(str(getattr(key, "key", key)) for key in path)
            return _cast(x, self._dtype_of(names[:-1], use))

        return jax.tree_util.tree_map_with_path(cast, params)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Casts what enters and leaves the modules that are called in the block."""
        open_paths: list[_module_globs.ModulePath] = []

        def intercept(
            next_fun: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: nn.module.InterceptorContext,
        ) -> Any:
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
        """Returns the optimizer that computes in f32, and skips overflows.

        It keeps first moments in `opt_state`; updates of parameters in bf16 are rounded at
        random.
        """
        dtype = None if self.opt_state is None else jnp.dtype(self.opt_state)
        optimizer = _stored_state.wrap_optimizer(optimizer, dtype)
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


def as_precision(value: Precision | str | None) -> Precision | None:
    """Returns the precision that a trainer was given, which may be a name.

    Raises:
      PrecisionError: If it is neither a precision nor the name of one.
    """
    if value is None or isinstance(value, Precision):
        return value
    return Precision.from_name(value)


def lost_updates(params: PyTree) -> str | None:
    """Returns a warning if parameters lose small updates when nothing is done about it.

    Args:
      params: The parameters, or their specs, of a run without a precision.
    """
    found = {
        jax.tree_util.keystr(path, simple=True, separator="."): jnp.dtype(x.dtype)
        for path, x in jax.tree_util.tree_leaves_with_path(params)
        if x.dtype in (jnp.bfloat16, jnp.float16)
    }
    if not found:
        return None
    name, dtype = next(iter(found.items()))
    parts = round(2 / float(jnp.finfo(dtype).eps))
    others = f" and {len(found) - 1} other parameters" if len(found) > 1 else ""
    return (
        f"`params.{name}`{others} are kept in {dtype}: an update of less than 1/{parts} "
        "of a value is lost, and second moments of the optimizer don't decay. Set "
        "`cfg.precision = kd.train.Precision(params='bfloat16')`, which updates in f32 "
        "and rounds at random, or keep them in f32 (`param_dtype` of the modules), with "
        "`cfg.precision = 'bf16'` to compute in bf16."
    )


class _Overridden:
    def __init__(self, dtypes: Mapping[str, Any]) -> None:
        self.params = dtypes.get("params")
        self.compute = dtypes.get("compute")


def _check_dtype(name: str, dtype: DType) -> None:
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


def _is_fp16(dtype: DType) -> bool:
    return dtype is not None and jnp.dtype(dtype) == jnp.float16


def _is_float(x: Array) -> bool:
    return isinstance(x, jax.Array | np.ndarray) and jnp.issubdtype(
        x.dtype, jnp.floating
    )


def _cast(tree: PyTree, dtype: DType) -> Any:
    if dtype is None:
        return tree
    # What a cache keeps has a dtype of its own.
    return jax.tree.map(
        lambda x: x.astype(dtype) if _is_float(x) else x,
        tree,
        is_leaf=lambda x: isinstance(x, modules.KVCache),
    )
