"""Configs from elsewhere: what they may name, before it is imported and after.

A `config.json` can name any callable, and resolving calls it. A config that
`konfig.load` returned is therefore marked, node by node, and its names are held against
a list twice: the name itself before anything is imported, and the object found, by where
it was *defined*, so that `optax:some.module.os.system` does not pass for optax.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from kauldron.konfig import _errors, _origin, _qualname

# Module prefixes in which a name may be looked up, and in which what is found may be
# defined. JAX and Flax define things in private modules; those are listed that hold
# pure functions of arrays.
_MODULES = (
    # Ours: components of a training run. Not `konfig` and `cli`, which import and build.
    *(
        f"kauldron.{room}"
        for room in (
            "kd",
            "kxm",
            "checkpoints",
            "contrib",
            "data",
            "evals",
            "export",
            "inspect",
            "kontext",
            "losses",
            "metrics",
            "modules",
            "nn",
            "optim",
            "random",
            "recording",
            "sharding",
            "step",
            "summaries",
            "train",
            "utils.immutabledict",
            "utils.sharding_utils",
        )
    ),
    "optax",
    "einops",
    "flax.core",
    "flax.linen",
    "flax.nnx",
    "flax.struct",
    "grain",
    "tensorflow_datasets.core.decode",
    "tensorflow_datasets.core.utils.read_config",
    "tensorflow_datasets.decode",
    "jax.image",
    "jax.lax",
    "jax.nn",
    "jax.numpy",
    "jax.ops",
    "jax.random",
    "jax.scipy",
    "jax.sharding",
    "jax.tree_util",
    "jax._src.basearray",
    "jax._src.custom_derivatives",
    "jax._src.dtypes",
    "jax._src.image",
    "jax._src.lax",
    "jax._src.mesh",
    "jax._src.named_sharding",
    "jax._src.nn",
    "jax._src.numpy",
    "jax._src.ops",
    "jax._src.partition_spec",
    "jax._src.random",
    "jax._src.scipy",
    "jax._src.sharding",
    "jax._src.sharding_impls",
    "jax._src.tree_util",
)
# Looked up only: what is found is defined in one of the above, or is a NumPy scalar.
_LOOK_UP_ONLY = (
    "builtins",
    "flax",
    "functools",
    "jax",
    "numpy",
    "operator",
    "tensorflow_datasets",
)
# Scalar types and the like: harmless, and configs hold them.
_EXACT = frozenset(
    (
        "functools:partial",
        "operator:or_",
        *(
            f"builtins:{name}"
            for name in [
                "bool",
                "bytes",
                "complex",
                "dict",
                "float",
                "frozenset",
                "int",
                "list",
                "set",
                "slice",
                "str",
                "tuple",
            ]
        ),
    )
)
# Constants of ours that are neither classes nor functions.
_CONSTANTS = frozenset(
    f"kauldron.kd:sharding.{name}" for name in ("FIRST_DIM", "REPLICATED")
)
# Ours: constructors do no work, so all public classes are accepted; functions of these.
_OUR_FUNCTIONS = (
    "kauldron.contrib",
    "kauldron.losses",
    "kauldron.metrics",
    "kauldron.modules",
    "kauldron.optim",
    "kauldron.random",
    "kauldron.sharding",
)
# Reads files, loads pickles, imports, calls back into Python, or registers things.
_REFUSED_NAMES = re.compile(
    r"(?i)load|save|pickle|fromfile|genfromtxt|tofile|frompyfunc|callback|import"
    r"|restore_from|deserial|read_file|write_file|open|exec|eval_code|huggingface"
    r"|folder|from_json|from_config|bagz|arrayrecord|tfrecord|parquet|register|download|builder|subprocess"
)
# Names that match, and are fine.
_HARMLESS = re.compile(r"(?i)dataloader$|^(Partial)?\w*Loader$|^NoopCheckpointer$")
_REFUSED_MODULES = (
    "flax.linen.summary",
    "grain._src.core",
    "grain._src.python.testing",
    "grain.proto",
    "jax._src.numpy.util",
    "optax.contrib._testing",
)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What an untrusted config may name.

    Attributes:
      source: Where the config came from, for messages.
      trusted: Packages that the user trusts as well; `"*"` for all.
    """

    source: str
    trusted: tuple[str, ...] = ()

    def extended(self, trusted: Iterable[str]) -> Policy:
        return dataclasses.replace(self, trusted=(*self.trusted, *trusted))

    @property
    def trusts_everything(self) -> bool:
        return "*" in self.trusted


def load(path: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> Any:
    """Returns the config of a JSON file or of a workdir, marked as not trusted.

    Imports nothing. Printing, `konfig.diff`, and `konfig.to_python` work as usual.
    `konfig.resolve` and `konfig.check` of it, and overrides of it, accept only names of
    classes and functions that are defined in kauldron, jax, flax, optax, einops, grain,
    or tfds and that neither read files, load pickles, import, nor call back into Python;
    NumPy scalars and dtypes; and `functools.partial` of these.

    Args:
      path: A JSON file, or a directory that has a `config.json`.
      trusted: Packages, such as `["my_project"]`, whose names are accepted as well.

    Raises:
      ConfigFileError: If it is not JSON.
      MissingFileError: If there is no such file.
    """
    from kauldron.konfig import _check, _diff

    data = _diff.read_json(path)
    with _origin.declare(_origin.Origin(os.fspath(path))):
        cfg = _check.as_config(data)
    mark(cfg, Policy(os.fspath(path), _to_tuple(trusted)))
    return cfg


def _to_tuple(trusted: Iterable[str]) -> tuple[str, ...]:
    return (trusted,) if isinstance(trusted, str) else tuple(trusted)


def mark(cfg: Any, policy: Policy) -> None:
    """Marks every node of a config as not trusted."""
    from kauldron.konfig import _nodes

    for node in _nodes.iter_nodes(cfg):
        node.__dict__["_trust"] = policy


def extend(cfg: Any, trusted: Iterable[str]) -> Any:
    """Returns a copy of a config in which more packages are trusted."""
    import copy

    from kauldron.konfig import _nodes

    cfg = copy.deepcopy(cfg)
    for node in _nodes.iter_nodes(cfg):
        if node._trust is not None:
            node.__dict__["_trust"] = node._trust.extended(_to_tuple(trusted))
    return cfg


def import_object(qualname: str, policy: Policy) -> Any:
    """`_qualname.import_object` for a name in a config that is not trusted.

    Raises:
      UntrustedError: If the name, or the object, is not on the list.
    """
    if policy.trusts_everything:
        return _qualname.import_object(qualname)
    _check_name(qualname, policy)
    obj = _qualname.import_object(qualname)
    reason = _why_not(qualname, obj, policy)
    if reason:
        raise _refusal(qualname, reason, policy)
    return obj


def _check_name(qualname: str, policy: Policy) -> None:
    """Refuses what need not even be imported."""
    module, attribute = _qualname.split(qualname)
    names = [*module.split("."), *(attribute.split(".") if attribute else [])]
    if any(not name.isidentifier() for name in names):
        raise _refusal(qualname, "it is not a dotted name", policy)
    if any(name.startswith("__") for name in names):
        raise _refusal(qualname, "it reaches into the inside of Python objects", policy)
    if _origin.is_within(module, policy.trusted):
        return
    if any(name.startswith("_") for name in names):
        raise _refusal(qualname, "it is private", policy)
    if qualname in _EXACT or module in _LOOK_UP_ONLY:
        return
    if not _origin.is_within(module, _MODULES):
        raise _refusal(qualname, f"{module!r} is not on the list", policy)


def _why_not(qualname: str, obj: Any, policy: Policy) -> str:
    """Returns why an object is refused; empty if it is accepted."""
    if qualname in _EXACT and not hasattr(obj, "__wrapped__"):
        return ""
    if qualname in _CONSTANTS:
        return ""
    if _is_numpy_type(obj):
        return ""
    if not _is_class_or_function(obj):
        return f"it is neither a class nor a function, but of type {type(obj).__name__}"
    for part in _definitions(obj):
        defined_in = getattr(part, "__module__", None) or "an unknown module"
        if _origin.is_within(defined_in, policy.trusted):
            continue
        if not _origin.is_within(defined_in, _MODULES):
            return f"it is defined in {defined_in!r}, which is not on the list"
        is_our_function = inspect.isfunction(obj) and defined_in.startswith("kauldron.")
        if is_our_function and not _origin.is_within(defined_in, _OUR_FUNCTIONS):
            return "it is a function that may do more than compute"
        name = getattr(part, "__qualname__", "") or getattr(part, "__name__", "")
        if _origin.is_within(defined_in, _REFUSED_MODULES) or _is_refused(name):
            return "it may read files, load pickles, import, or call back into Python"
        asked = qualname.rpartition(".")[2].rpartition(":")[2]
        if _is_refused(asked):
            return "it may read files, load pickles, import, or call back into Python"
    return ""


def _is_refused(name: str) -> bool:
    return any(
        _REFUSED_NAMES.search(part) and not _HARMLESS.search(part)
        for part in name.split(".")
    )


def _definitions(obj: Any) -> list[Any]:
    """Returns what has to be defined in an accepted module: the object, and its owner."""
    if inspect.ismethod(obj):  # a class method: `Vit.from_variant_str`
        owner = obj.__self__
        return [obj.__func__, owner if isinstance(owner, type) else type(owner)]
    found = [obj]
    wrapped = inspect.unwrap(obj) if hasattr(obj, "__wrapped__") else obj
    if wrapped is not obj:
        found.append(wrapped)
    return found


def _is_class_or_function(obj: Any) -> bool:
    if isinstance(obj, type) or inspect.isfunction(obj):
        return True
    if inspect.ismethod(obj):
        return isinstance(obj.__self__, type)
    if inspect.isbuiltin(obj):
        return isinstance(getattr(obj, "__self__", None), type(sys))
    # Functions that JAX has wrapped: jitted ones, `custom_jvp`, NumPy-like ufuncs.
    kind = type(obj)
    return (
        callable(obj)
        and (kind.__module__ or "").partition(".")[0] in ("jax", "jaxlib")
        and kind.__name__
        in ("PjitFunction", "custom_jvp", "custom_vjp", "ufunc", "_ScalarMeta")
    )


def _is_numpy_type(obj: Any) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(obj, type):
        return False
    if obj.__module__ not in ("numpy", "ml_dtypes"):
        return False
    return issubclass(obj, numpy.generic | numpy.dtype)


@functools.lru_cache(maxsize=1024)
def _refusal(qualname: str, reason: str, policy: Policy) -> _errors.UntrustedError:
    package = qualname.partition(":")[0].partition(".")[0]
    return _errors.UntrustedError(
        f"The config of {policy.source!r} names {qualname!r}, which is refused: "
        f"{reason}. {_advice([package])}",
        qualname=qualname,
        reason=reason,
        source=policy.source,
    )


def _advice(packages: list[str]) -> str:
    return (
        "If you know what they do, and trust where the config comes from, pass "
        f"trusted={packages!r} (on the command line, --trust={','.join(packages)})."
    )


def summarize(errors: Sequence[_errors.UntrustedError]) -> str:
    """Returns one sentence for all the names of a config that are refused."""
    first = errors[0]
    names = list(dict.fromkeys(e.qualname for e in errors))
    if len(names) == 1:
        return str(first)
    packages = list(dict.fromkeys(n.partition(":")[0].partition(".")[0] for n in names))
    return (
        f"The config of {first.source!r} names {len(names)} things that are refused: "
        f"{first.qualname!r} ({first.reason}), "
        f"{_errors.list_names([repr(n) for n in names[1:]], limit=3)}. "
        f"{_advice(packages)}"
    )
