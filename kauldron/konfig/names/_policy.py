"""Import policy for untrusted configs: checked before the import and after it.

A `config.json` can name any callable, and resolving calls it. A config that
`konfig.load` returned is therefore marked, node by node, and its names are held against
a list twice: the name itself before anything is imported, and the object found, by where
it was *defined*, so that `optax:some.module.os.system` does not pass for optax.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any

from kauldron.konfig import _origin
from kauldron.konfig.names import (
    _declarations,
    _libraries,
    _named_objects,
    _package_declaration,
    _qualname,
    _refusals,
    _safe_objects,
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

    @classmethod
    def of(cls, source: str, trusted: Iterable[str]) -> Policy:
        """Returns the policy for a config that came from `source`."""
        return cls(source).extended(trusted)

    def extended(self, trusted: Iterable[str]) -> Policy:
        """Returns the policy with more packages; a single text is one package."""
        more = (trusted,) if isinstance(trusted, str) else tuple(trusted)
        return dataclasses.replace(self, trusted=(*self.trusted, *more))

    @property
    def trusts_everything(self) -> bool:
        return "*" in self.trusted

    def import_object(self, qualname: str) -> Any:
        """Returns the object of a name in such a config.

        Raises:
          UntrustedError: If the name, or the object, is not on the list.
          ConfigImportError: If there is no such object.
        """
        if self.trusts_everything:
            return _named_objects.import_object(qualname)
        _check_name(qualname, self)
        obj = _named_objects.import_object(qualname)
        reason = _why_not(qualname, obj, self)
        if reason:
            raise self.refusal(qualname, reason)
        return obj

    def refusal(self, qualname: str, reason: str) -> Exception:
        """Returns the error for a name that is refused."""
        return _refusals.refusal(qualname, reason, self.source, self.trusted)


def _check_name(qualname: str, policy: Policy) -> None:
    """Refuses what need not even be imported."""
    module, attribute = _qualname.split(qualname)
    names = [*module.split("."), *(attribute.split(".") if attribute else [])]
    if any(not name.isidentifier() for name in names):
        raise policy.refusal(qualname, "it is not a dotted name")
    if any(name.startswith("__") for name in names):
        raise policy.refusal(qualname, "it reaches into the inside of Python objects")
    if _origin.is_within(module, policy.trusted):
        return
    if any(name.startswith("_") for name in names):
        raise policy.refusal(qualname, "it is private")
    if qualname in _libraries.EXACT or module in _libraries.LOOK_UP_ONLY:
        return
    if _origin.is_within(module, _libraries.MODULES):
        return
    declaration = _declaration_for(module, policy)
    home = module if declaration is None else declaration.moved.get(module, module)
    if declaration is None or not _origin.is_within(home, declaration.modules):
        raise policy.refusal(qualname, f"{module!r} is not on the list")


def _declaration_for(
    module: str, policy: Policy
) -> _package_declaration.PackageDeclaration | None:
    with _declarations.only_trusted(policy.trusted):
        return _declarations.meet(module)


def _why_not(qualname: str, obj: Any, policy: Policy) -> str:
    """Returns why an object is refused; empty if it is accepted."""
    if qualname in _libraries.EXACT and not hasattr(obj, "__wrapped__"):
        return ""
    if _is_numpy_type(obj):
        return ""
    package = qualname.partition(":")[0]
    home = getattr(obj, "__module__", None) or ""
    for module in (package, home):
        declaration = _declaration_for(module, policy)
        if declaration is not None and _safe_objects.is_safe(
            obj, qualname, declaration
        ):
            return ""
    if not _is_class_or_function(obj):
        return f"it is neither a class nor a function, but of type {type(obj).__name__}"
    for part in _definitions(obj):
        reason = _why_not_defined(part, qualname, policy)
        if reason:
            return reason
    return ""


def _why_not_defined(part: Any, qualname: str, policy: Policy) -> str:
    """Returns why an object, of no package that declares it, is refused by its home."""
    defined_in = getattr(part, "__module__", None) or "an unknown module"
    if _origin.is_within(defined_in, policy.trusted):
        return ""
    if not _origin.is_within(defined_in, _libraries.MODULES):
        declaration = _declaration_for(defined_in, policy)
        if declaration and _origin.is_within(defined_in, declaration.modules):
            return f"{defined_in!r} does not offer it as safe"
        return f"it is defined in {defined_in!r}, which is not on the list"
    name = getattr(part, "__qualname__", "") or getattr(part, "__name__", "")
    asked = qualname.rpartition(".")[2].rpartition(":")[2]
    is_refused = _origin.is_within(defined_in, _libraries.REFUSED_MODULES)
    if is_refused or _is_refused(name) or _is_refused(asked):
        return "it may read files, load pickles, import, or call back into Python"
    return ""


def _is_refused(name: str) -> bool:
    return any(
        re.search(_libraries.REFUSED_NAMES, part)
        and not re.fullmatch(_libraries.HARMLESS_NAMES, part)
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
