"""`PRNGKey`: a key whose methods are the functions of `jax.random`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import DType
from kauldron.random import _keys


@jax.tree_util.register_pytree_node_class
class PRNGKey:
    """Wraps a JAX key: `key.uniform((2,))` is `jax.random.uniform(key, (2,))`.

    Args:
      seed_or_rng: An integer seed, a raw or typed key, or another `PRNGKey`.
      impl: Name of the random bit generator, see `jax.random.PRNGKey`.
    """

    rng: jax.Array

    def __init__(
        self,
        seed_or_rng: int | jax.Array | np.ndarray | PRNGKey = 0,
        *,
        impl: str | None = None,
    ) -> None:
        if isinstance(seed_or_rng, PRNGKey):
            self.rng = seed_or_rng.rng
        elif _is_key(seed_or_rng):
            self.rng = seed_or_rng
        else:
            self.rng = jax.random.PRNGKey(seed_or_rng, impl=impl)

    def split(self, n: int = 2) -> PRNGKey:
        """Returns `n` keys; index or iterate the result."""
        return PRNGKey(jax.random.split(self.rng, n))

    def fold_in(self, data: int | str | jax.Array) -> PRNGKey:
        """Derives a key from an integer or a name."""
        if isinstance(data, str):
            return PRNGKey(_keys.fold_in_str(self.rng, data))
        return PRNGKey(jax.random.fold_in(self.rng, data))

    def next(self) -> PRNGKey:
        """Returns a new key, `self.split(1)[0]`."""
        return self.split(1)[0]

    def as_seed(self) -> int:
        """Returns an integer seed in `[0, 2**32)`."""
        return _keys.random_seed(self.rng)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(jax.random, name):
            raise AttributeError(f"PRNGKey has no attribute {name!r}.")
        function = getattr(jax.random, name)
        return lambda *args, **kwargs: function(self.rng, *args, **kwargs)

    def __getitem__(
        self, index: int | slice | jax.Array | np.ndarray | tuple[Any, ...]
    ) -> PRNGKey:
        return PRNGKey(self.rng[index])

    def __len__(self) -> int:
        return len(self.rng)

    def __iter__(self) -> Iterator[PRNGKey]:
        return (PRNGKey(key) for key in self.rng)

    def __array__(
        self, dtype: DType | None = None, copy: bool | None = None
    ) -> np.ndarray:
        return np.asarray(self.rng, dtype=dtype)

    def __repr__(self) -> str:
        return f"PRNGKey({self.rng!r})"

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        """For `jax.tree`: the key is the only leaf."""
        return (self.rng,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[Any]) -> PRNGKey:
        """For `jax.tree`: makes it of its leaf, which may be a placeholder."""
        self = object.__new__(cls)  # children may be placeholders, not arrays
        (self.rng,) = children
        return self


def _is_key(value: object) -> TypeGuard[jax.Array]:
    if not isinstance(value, jax.Array | np.ndarray):
        return False
    is_typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return is_typed or (value.dtype == np.uint32 and value.ndim >= 1)
