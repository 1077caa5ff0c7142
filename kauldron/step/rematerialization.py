"""Rematerialisation: which modules recompute their activations to save memory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kauldron._base import arguments, errors
from kauldron.step import _module_globs, intermediates

# The `jax.checkpoint_policies` that are policies themselves; the others create one.
_POLICIES = (
    "nothing_saveable",
    "everything_saveable",
    "dots_saveable",
    "dots_with_no_batch_dims_saveable",
)


# Flax takes the lifted function for a method of the module, going by its name.
_LIFTED = "rematerialized"


class RematError(errors.UserError, ValueError):
    """An invalid description of rematerialisation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remat(arguments.NamesArguments):
    """Drops what modules compute in the forward pass, and computes it again for gradients.

    Neither parameters nor numbers change, nor the random bits of dropout. It is done in
    training steps only.

    Attributes:
      modules: Globs of module paths, such as `['encoder.block_*']`: `*` within one name,
        `**` over any number. Between the inputs and the outputs of such a module nothing
        is kept.
      policy: What is still kept inside: a name in `jax.checkpoint_policies`
        (`'dots_with_no_batch_dims_saveable'` keeps the results of dense layers), or a
        policy; `None` keeps nothing.
      prevent_cse: Whether the compiler is kept from undoing it. Inside a scan over layers
        it does not try: `False` is faster there.

    Raises:
      RematError: If `modules` is empty, or there is no such policy.

    Reference: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost,
    arXiv:1604.06174.
    """

    modules: Sequence[str]
    policy: str | Callable[..., Any] | None = None
    prevent_cse: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.modules, str) or not self.modules:
            raise RematError(
                "`Remat.modules` must be a list of globs, such as ['encoder.block_*']: "
                f"got {self.modules!r}."
            )
        if isinstance(self.policy, str) and self.policy not in _POLICIES:
            raise RematError(
                f"There is no policy {self.policy!r}."
                f"{errors.did_you_mean(self.policy, _POLICIES)} `Remat.policy` is one of "
                f"{list(_POLICIES)}, or the result of a function of "
                "`jax.checkpoint_policies`, such as `save_only_these_names('x')`."
            )

    def check_modules(self, paths: Iterable[_module_globs.ModulePath]) -> None:
        """Raises if a glob matches none of the paths of modules."""
        _module_globs.check(self.modules, paths, field="cfg.remat.modules")

    @contextlib.contextmanager
    def applied(
        self, capture: intermediates.Capture
    ) -> Iterator[intermediates.Capture]:
        """Makes the modules called in the block drop their activations.

        Args:
          capture: Which outputs become `interms`.

        Yields:
          The same selection, for the modules as they are called now.
        """
        open_paths: list[_module_globs.ModulePath] = []

        def intercept(
            next_fun: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: nn.module.InterceptorContext,
        ) -> Any:
            path = tuple(context.module.path)
            if (
                context.method_name != "__call__"
                or path in open_paths
                or _is_scan(context.module)
                or not any(_module_globs.matches(p, path) for p in self.modules)
            ):
                return next_fun(*args, **kwargs)
            open_paths.append(path)
            try:
                return self._call(context.module, args, kwargs)
            finally:
                open_paths.remove(path)

        def is_captured(module: Any, method_name: str) -> bool:
            # The call inside is the same as the call outside: it counts once.
            if method_name == _LIFTED or (
                method_name == "__call__" and tuple(module.path) in open_paths
            ):
                return False
            return capture(module, method_name) if callable(capture) else capture

        with nn.intercept_methods(intercept):
            yield is_captured

    def _call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        leaves, structure = jax.tree.flatten((args, kwargs))
        # Flags such as `deterministic=True` stay Python values.
        is_array = [isinstance(x, jax.Array | np.ndarray) for x in leaves]
        arrays = [x for x, yes in zip(leaves, is_array, strict=True) if yes]

        def merge(arrays: Sequence[Any]) -> Any:
            rest = iter(arrays)
            return structure.unflatten(
                next(rest) if yes else x
                for x, yes in zip(leaves, is_array, strict=True)
            )

        def rematerialized(module: nn.Module, *arrays: Any) -> Any:
            args, kwargs = merge(arrays)
            return module(*args, **kwargs)

        policy = self.policy
        if isinstance(policy, str):
            policy = getattr(jax.checkpoint_policies, policy)
        return nn.remat(rematerialized, policy=policy, prevent_cse=self.prevent_cse)(
            module, *arrays
        )


def _is_scan(module: nn.Module) -> bool:
    """Whether it runs a module in a loop, under the same path: that one is meant."""
    cls = type(module)
    return cls.__name__ == f"Scan{cls.__bases__[0].__name__}"  # as `nn.scan` names it
