"""The metaclass of array types: the class of `Float` and `Float["*b h w c"]`."""

from __future__ import annotations

import copyreg
import functools
import sys
import typing
from typing import Any

import numpy as np

from kauldron.ktyping import _match, _parser, _spec
from kauldron.ktyping import dtypes as dtypes_lib
from kauldron.ktyping._errors import NoActiveScopeError


class _AnyArray:
    """Stands for the arrays of NumPy and JAX, tracers and `ShapeDtypeStruct`."""

    def __repr__(self) -> str:
        return "numpy or jax array"

    def __reduce__(self) -> str:
        return "ANY_ARRAY"


class _ForeignArray:
    """Stands for tensors of libraries that are never imported here, by module name."""

    def __init__(self, *module_names: str):
        self.module_names = module_names

    def __repr__(self) -> str:
        return " or ".join(f"{name} tensor" for name in self.module_names)

    def __reduce__(self) -> str:
        return "TF_TENSOR" if self.module_names == ("tensorflow",) else "TORCH_TENSOR"


ANY_ARRAY = _AnyArray()
TF_TENSOR = _ForeignArray("tensorflow")
TORCH_TENSOR = _ForeignArray("torch")


@functools.lru_cache(maxsize=1024)
def _is_array_class(cls: type, jax_is_loaded: bool) -> bool:
    if issubclass(cls, np.ndarray | np.generic):
        return True
    if not jax_is_loaded:
        return False
    import jax
    import jax.core

    # Tracers are not subclasses of `jax.Array`, but their instances are instances.
    return issubclass(cls, jax.Array | jax.core.Tracer | jax.ShapeDtypeStruct)


def is_array(value: object) -> bool:
    """Returns whether `value` is an array of NumPy or JAX, a tracer, or abstract."""
    return _is_array_class(type(value), "jax" in sys.modules)


def _is_instance(value: object, array_types: tuple[Any, ...]) -> bool:
    for array_type in array_types:
        if isinstance(array_type, _AnyArray):
            if is_array(value):
                return True
        elif isinstance(array_type, _ForeignArray):
            root = type(value).__module__.partition(".")[0]
            if root in array_type.module_names and hasattr(value, "shape"):
                return True
        elif isinstance(value, array_type):
            return True
    return False


def _as_tuple(array_types: object) -> tuple[Any, ...]:
    if isinstance(array_types, tuple):
        return array_types
    return typing.get_args(array_types) or (array_types,)


def _is_allowed_class(array_type: object, allowed: tuple[Any, ...]) -> bool:
    """Whether a class narrows; the general types may be narrowed to any class."""
    if array_type in allowed or ANY_ARRAY in allowed:
        return True
    classes = tuple(a for a in allowed if isinstance(a, type))
    return isinstance(array_type, type) and issubclass(array_type, classes)


def _class_name(array_type: object) -> str:
    return getattr(array_type, "__qualname__", None) or repr(array_type)


class ArrayTypeMeta(type):
    """Makes array types: classes that are subscripted with a shape spec.

    Args:
      name: How the type prints.
      array_types: Classes of arrays, or one class, that are allowed.
      dtype: The allowed dtypes; all by default.
      spec: The shape spec; any shape by default.

    Example:

    ```python
    import numpy as np
    from kauldron.ktyping import array_type_meta, dtypes

    Pixels = array_type_meta.ArrayTypeMeta(
        "Pixels", array_types=np.ndarray, dtype=dtypes.uint8 | dtypes.floating
    )
    assert isinstance(np.zeros((4, 4, 3)), Pixels["h w c"])
    assert not isinstance(np.zeros((4, 4), np.int32), Pixels)
    ```
    """

    array_types: tuple[Any, ...]
    dtype: dtypes_lib.DTypes
    spec: str | None
    dtype_cache: _DTypeCache

    def __new__(
        mcs: object,
        name: str,
        bases: tuple[type, ...] = (),
        namespace: dict[str, Any] | None = None,
        *,
        array_types: object = ANY_ARRAY,
        dtype: dtypes_lib.DTypes = dtypes_lib.any_dtype,
        spec: str | None = None,
    ) -> ArrayTypeMeta:
        del bases, namespace
        return _make(mcs, name, _as_tuple(array_types), dtype, spec)

    def __init__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init__(cls.__name__, (), {})

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{cls} is an annotation, not a function: write "
            f"{cls.__name__}[...] in brackets."
        )

    def __getitem__(cls, item: object) -> ArrayTypeMeta:
        if cls.spec is not None:
            raise TypeError(f"{cls} has a shape already: got {item!r} as well.")
        if isinstance(item, str):
            return _make(type(cls), cls.__name__, cls.array_types, cls.dtype, item)
        if isinstance(item, tuple) and len(item) in (2, 3) and isinstance(item[1], str):
            array_types, spec, *rest = item
            array_types = _as_tuple(array_types)
            dtype = rest[0] if rest else cls.dtype
            cls._check_narrows(array_types, dtype)
            return _make(type(cls), cls.__name__, array_types, dtype, spec)
        raise TypeError(
            f"{cls.__name__} takes a shape spec such as '*b h w c', or an array class, "
            f"a spec and dtypes: got {item!r}."
        )

    def _check_narrows(cls, array_types: tuple[Any, ...], dtype: object) -> None:
        """Raises `TypeError` if a long form asks for what the type rules out."""
        if not isinstance(dtype, dtypes_lib.DTypes):
            raise TypeError(
                f"The third item of {cls.__name__}[class, spec, dtypes] is a set of "
                f"`ktyping.dtypes`: got {dtype!r}."
            )
        if not cls.dtype.includes(dtype):
            raise TypeError(
                f"{cls.__name__} is {cls.dtype}, which {dtype} is not: the dtypes of "
                "the long form must be among those of the type. Use `Array[...]`."
            )
        for array_type in array_types:
            if not _is_allowed_class(array_type, cls.array_types):
                allowed = " or ".join(map(_class_name, cls.array_types))
                raise TypeError(
                    f"{cls.__name__} is for {allowed}, which {_class_name(array_type)} "
                    "is not. Use `Array[...]`."
                )

    @property
    def shape_spec(cls) -> str | None:
        """The shape spec; `None` for a type without one. The published name."""
        return cls.spec

    def __or__(cls, other: object) -> Any:
        if (
            isinstance(other, ArrayTypeMeta)
            and type(cls) is type(other) is ArrayTypeMeta
            and cls.array_types == other.array_types
            and cls.spec is None
            and other.spec is None
        ):
            # One type, so that `(Float | UInt8)["h w"]` can be written.
            name = cls.__name__
            if cls is not other:
                name = f"{cls.__name__} | {other.__name__}"
            return _make(
                ArrayTypeMeta, name, cls.array_types, cls.dtype | other.dtype, None
            )
        return super().__or__(other)

    def __instancecheck__(cls, value: object) -> bool:
        """Whether the array fits, on its own: binds nothing and needs no scope."""
        return bool(cls.match(value, [{}]))

    def __subclasscheck__(cls, other: object) -> bool:
        return cls is other

    def __repr__(cls) -> str:
        return cls.__qualname__

    def match(
        cls, value: Any, candidates: list[_match.Candidate], scope: Any = None
    ) -> list[_match.Candidate]:
        """Returns the candidates, extended, with which the array fits this type."""
        if not cls.has_instance(value) or value.dtype not in cls.dtype_cache:
            return []
        if cls.spec is None:
            return candidates
        return _match.match(cls.parsed(scope), tuple(value.shape), candidates)

    def array_types_match(cls, value: object) -> bool:
        """Whether the value is an array of an allowed class, whatever its dtype."""
        return cls.has_instance(value)

    def dtype_matches(cls, value: object) -> bool:
        """Whether the dtype of an array is allowed, whatever its shape."""
        return getattr(value, "dtype", None) in cls.dtype_cache

    def shape_matches(cls, value: Any) -> bool:
        """Whether the shape of an array fits, with any sizes for the names."""
        if cls.spec is None:
            return True
        return bool(_match.match(cls.parsed(), tuple(value.shape), [{}]))

    def as_seen(cls, value: object) -> Any:
        """Returns what the spec and the dtypes are about: `value`, or a view of it."""
        return value

    def has_instance(cls, value: object) -> bool:
        """Whether the value is an array of the right library."""
        return _is_instance(value, cls.array_types)

    def parsed(cls, scope: Any = None) -> _spec.Spec:
        """Returns the spec, `{…}` evaluated with the arguments of the call."""
        spec = _parser.parse(cls.spec or "")
        if not spec.has_fstring:
            return spec
        if scope is None:
            raise NoActiveScopeError(
                f"{cls} needs the arguments of a call: it holds Python in braces."
            )
        return _parser.expand(spec, scope.evaluate)


class _DTypeCache(dict):
    """Remembers which dtypes are in a set; testing goes by their names."""

    def __init__(self, dtypes: dtypes_lib.DTypes):
        super().__init__()
        self.dtypes = dtypes

    def __contains__(self, dtype: object) -> bool:
        found = self.get(dtype)
        if found is None:
            found = self[dtype] = dtype in self.dtypes
        return found


@functools.lru_cache(maxsize=8192)
def _make(
    mcs: type,
    name: str,
    array_types: tuple[Any, ...],
    dtype: dtypes_lib.DTypes,
    spec: str | None,
) -> Any:
    """Makes the class; equal arguments give the same class."""
    if spec is not None:
        _parser.parse(spec)  # reports a mistake in it here
    shown = f"({name})" if " | " in name and spec is not None else name
    namespace = {
        "__qualname__": shown if spec is None else f"{shown}[{spec!r}]",
        "array_types": array_types,
        "dtype": dtype,
        "dtype_cache": _DTypeCache(dtype),
        "spec": spec,
        "__doc__": f"An array: {dtype}.",
        "__module__": "kauldron.ktyping",
    }
    return type.__new__(mcs, name, (), namespace)


def is_array_type(hint: object) -> bool:
    """Returns whether an annotation is an array type such as `Float["h w"]`."""
    return isinstance(hint, ArrayTypeMeta)


def _reduce(cls: ArrayTypeMeta) -> Any:
    return _make, (type(cls), cls.__name__, cls.array_types, cls.dtype, cls.spec)


copyreg.pickle(ArrayTypeMeta, _reduce)
