"""Norms by name or module, right for any number of leading axes.

Statistics are computed in f32, the variance around the mean: Flax's default,
`E[x²] - E[x]²`, is wrong for values whose mean is large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron._base import errors
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _logical_axes, _modules, _rms_norm, _train_property

Norm = str | nn.Module | None
Normalise = Callable[[jax.Array], jax.Array]


class BatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm` that follows the train/eval mode.

    Statistics are over all axes but the last; in training those of the (global) batch,
    otherwise the running ones, the collection `batch_stats`. The running variance is
    that of the batch as it is, without PyTorch's factor `n / (n - 1)`.

    Attributes:
      momentum: Share of the old running statistics that stays: PyTorch's is one minus
        this.

    Raises:
      ValueError: If `use_running_average` is passed: the train property decides.

    Reference: Ioffe and Szegedy 2015, Batch Normalization, arXiv:1502.03167.
    """

    momentum: float = 0.9
    use_fast_variance: bool = False

    is_training = _train_property.train_property()

    @nn.compact
    @typechecked
    def __call__(
        self,
        x: Float["*b c"],
        use_running_average: bool | None = None,
    ) -> Float["*b c"]:
        if use_running_average is not None or self.use_running_average is not None:
            raise ValueError(
                "`kd.nn.BatchNorm` follows the train property; don't pass "
                "`use_running_average`. Use `flax.linen.BatchNorm` to decide by hand."
            )
        return super().__call__(x, not self.is_training)


def make_norm(
    norm: Norm,
    *,
    owner: nn.Module,
    num_spatial_axes: int = 0,
    feature_axis: str | None = "conv_out",
    epsilon: float = 1e-5,
    dtype: DType | None = None,
    param_dtype: DType = jnp.float32,
    name: str | None = None,
) -> Normalise:
    """Returns a function that normalises an array, for use in `@nn.compact`.

    Args:
      norm: `"batch"`, over everything but the features (see `BatchNorm`);
        `"instance"`, over the spatial axes of each example and feature; `"group"`, 32
        groups of features, over the spatial axes of each example; `"layer"` and
        `"rms"`, over the features of each position; `None` changes nothing. A module
        of Flax, such as `nn.GroupNorm(8)`, is copied, so that each use has its own
        parameters. All but `"rms"`, which has no bias, have a scale and a bias.
      owner: The module that calls this, in its `__call__`.
      num_spatial_axes: How many axes before the features are positions within one
        example: axes further left are examples.
      feature_axis: Logical name of the axis of scale and bias, for norms by name.
      epsilon: Added to the variance, for norms by name.
      dtype: Of the result, for norms by name; `None` is that of input and parameters.
      param_dtype: Of scale and bias, for norms by name.
      name: Of the module.

    Raises:
      ValueError: If nothing has that name; when it is called, if features do not
        divide into groups.
    """
    if norm is None:
        return lambda x: x
    if isinstance(norm, str):
        module = _by_name(norm, feature_axis, epsilon, dtype, param_dtype, name)
    else:
        module = _modules.copy_of(norm, owner, name)

    def normalise(x: jax.Array) -> jax.Array:
        _check_groups(module, x.shape[-1])
        _check_positions(module, x.shape[x.ndim - num_spatial_axes - 1 : -1])
        # One leading axis: Flax's instance and group norm take all axes but the first
        # for positions.
        split = x.ndim - num_spatial_axes - 1
        y = module(x.reshape(math.prod(x.shape[:split]), *x.shape[split:]))
        return y.reshape(*x.shape[:split], *y.shape[1:])

    return normalise


def _by_name(
    norm: str,
    feature_axis: str | None,
    epsilon: float,
    dtype: DType | None,
    param_dtype: DType,
    name: str | None,
) -> nn.Module:
    init = nn.initializers
    named = _logical_axes.with_logical_axes
    kwargs = {
        "epsilon": epsilon,
        "dtype": dtype,
        "param_dtype": param_dtype,
        "use_fast_variance": False,
        "scale_init": named(init.ones_init(), (feature_axis,)),
        "bias_init": named(init.zeros_init(), (feature_axis,)),
        "name": name,
    }
    match norm:
        case "batch":
            return BatchNorm(**kwargs)
        case "instance":
            return nn.InstanceNorm(**kwargs)
        case "group":
            return nn.GroupNorm(**kwargs)
        case "layer":
            return nn.LayerNorm(**kwargs)
        case "rms":
            return _rms_norm.RMSNorm(
                epsilon=epsilon,
                dtype=dtype,
                param_dtype=param_dtype,
                axis_name=feature_axis,
                name=name,
            )
    names = ["batch", "instance", "group", "layer", "rms"]
    raise ValueError(
        f"There is no norm {norm!r}.{errors.did_you_mean(norm, names)} There are "
        f"{', '.join(names)} and None; a module can be given instead."
    )


def _check_groups(module: nn.Module, features: int) -> None:
    if not isinstance(module, nn.GroupNorm) or module.num_groups is None:
        return
    if features % module.num_groups:
        divisors: Sequence[int] = [g for g in range(1, 33) if features % g == 0]
        raise ValueError(
            f"{features} features do not divide into {module.num_groups} groups. Give "
            f"the norm as a module, such as `nn.GroupNorm({divisors[-1]})`, or change "
            "the number of features."
        )


def _check_positions(module: nn.Module, sizes: Sequence[int]) -> None:
    if isinstance(module, nn.InstanceNorm) and math.prod(sizes) == 1:
        raise ValueError(
            f"An instance norm over one position, {tuple(sizes)}, has the same output "
            "whatever its input is. Use larger images, fewer or smaller strides, or "
            "another norm, such as 'layer'."
        )
