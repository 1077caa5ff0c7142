"""Generates overrides that a user may get wrong, from every field of a config."""

from __future__ import annotations

import dataclasses
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections

from kauldron import konfig, kontext
from kauldron.konfig.names import _annotations, _named_objects, _signature

_SPECIAL = ("__qualname__", "__const__")
_LETTERS = string.ascii_lowercase + "_"


@dataclasses.dataclass(frozen=True)
class Case:
    """One bad override.

    Attributes:
      kind: What is wrong with it; a key of `KINDS`.
      flag: The argument of the command line.
      meant: For a typo, the name that was meant; else empty.
    """

    kind: str
    flag: str
    meant: str = ""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config: its path, the value it has, and what it may hold.

    Attributes:
      parts: The path.
      value: The value.
      is_reference: Whether it is a reference to another field.
      scalars: Types of numbers and texts that the annotation of the argument takes;
        `None` if it does not say.
    """

    parts: tuple[Any, ...]
    value: Any
    is_reference: bool = False
    scalars: frozenset[type] | None = None

    @property
    def takes_float(self) -> bool:
        return self.scalars is not None and float in self.scalars

    @property
    def takes_text(self) -> bool:
        return isinstance(self.value, str | None) or (
            self.scalars is not None and str in self.scalars
        )

    def flag(self, text: str, parts: tuple[Any, ...] | None = None) -> str:
        path = str(kontext.Path(*(self.parts if parts is None else parts)))
        return f"--cfg.{path}={text}"


def list_fields(cfg: Any, parts: tuple[Any, ...] = ()) -> Iterator[Field]:
    """Yields every field of a config, outermost first."""
    items: Any = ()
    if isinstance(cfg, konfig.ConfigDict):
        items = ((k, v) for k, v in cfg.items() if k not in _SPECIAL)
    elif isinstance(cfg, list | tuple):
        items = enumerate(cfg)
    for key, value in items:
        is_reference = isinstance(cfg, konfig.ConfigDict) and isinstance(
            cfg._fields[key], ml_collections.FieldReference
        )
        yield Field((*parts, key), value, is_reference, _scalars(cfg, key))
        yield from list_fields(value, (*parts, key))


def _scalars(cfg: Any, key: Any) -> frozenset[type] | None:
    """Returns the types that the argument of a call is annotated with."""
    qualname = cfg.get("__qualname__") if isinstance(cfg, konfig.ConfigDict) else None
    if qualname is None:
        return None
    signature = _signature.get(_named_objects.import_object(qualname))
    hint = None if signature is None else signature.types.get(key)
    return None if hint is None else _annotations.accepted_scalars(hint)


def generate(fields: list[Field], *, seed: int, num_cases: int) -> list[Case]:
    """Returns bad overrides, all kinds in turn."""
    rng = random.Random(seed)
    kinds = list(KINDS.items())
    cases: list[Case] = []
    while len(cases) < num_cases:
        # Every second one is a typo: that is what people make most.
        kind, make = kinds[len(cases) // 2 % len(kinds)] if len(cases) % 2 else kinds[0]
        case = None
        while case is None:  # not every kind is possible in every field
            case = make(rng, rng.choice(fields), fields)
        cases.append(dataclasses.replace(case, kind=kind))
    return cases


def _misspell(rng: random.Random, name: str) -> str:
    for _ in range(rng.choice([1, 1, 2])):
        i = rng.randrange(len(name))
        edit = rng.choice(["delete", "insert", "replace", "swap"])
        if edit == "delete":
            name = name[:i] + name[i + 1 :]
        elif edit == "insert":
            name = name[:i] + rng.choice(_LETTERS) + name[i:]
        elif edit == "replace":
            name = name[:i] + rng.choice(_LETTERS) + name[i + 1 :]
        elif i + 1 < len(name):
            name = name[:i] + name[i + 1] + name[i] + name[i + 2 :]
    return name


def _typo(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    """Misspells one name on the way to a field."""
    named = [i for i, p in enumerate(field.parts) if isinstance(p, str) and len(p) > 3]
    if not named:
        return None
    i = rng.choice(named)
    name = field.parts[i]
    wrong = _misspell(rng, name)
    siblings = {
        f.parts[i]
        for f in fields
        if f.parts[:i] == field.parts[:i] and len(f.parts) > i
    }
    if not wrong.isidentifier() or wrong in siblings:
        return None
    parts = (*field.parts[:i], wrong, *field.parts[i + 1 :])
    value = field.value
    text = str(value) if isinstance(value, str | int | float) else "1"
    return Case("", field.flag(text, parts), meant=name)


def _wrong_type(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    value = field.value
    if isinstance(value, bool):
        texts = ["maybe", "2", "[1]", "1.5"]
    elif isinstance(value, int):
        texts = ["abc", "[1]", "true", "{'a': 1}"]
        if not field.takes_float:
            texts += ["2.5", "1e-3", "nan"]
    elif isinstance(value, float):
        texts = ["abc", "[1]", "true", "1.2.3"]
    elif isinstance(value, list | tuple):
        texts = ["abc", "3", "{'a': 1}", "true"]
    elif isinstance(value, konfig.ConfigDict):
        texts = ["abc", "[1]", "true", "{'a': 1}"[: 8 * field.is_reference] or "3"]
    else:
        return None
    return Case("", field.flag(rng.choice(texts)))


def _wrong_index(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    if not isinstance(field.value, list | tuple):
        return None
    n = len(field.value)
    index = rng.choice([n, n + 7, -n - 1, 10**9])
    return Case("", field.flag("1", (*field.parts, index)))


def _item_of_a_scalar(
    rng: random.Random, field: Field, fields: list[Field]
) -> Case | None:
    if not isinstance(field.value, str | int | float | None):
        return None
    return Case("", field.flag("1", (*field.parts, rng.choice(["x", 0, "a b"]))))


def _needs_value(field: Field) -> bool:
    return not field.takes_text


def _bad_json(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    texts = ['{"a": ', "[1, 2", "{'a' 1}", '{"a": nope}', "[1,, 2]", "{", "[" * 500]
    return Case("", field.flag(rng.choice(texts))) if _needs_value(field) else None


def _bad_py(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    texts = [
        "py::", "py::f(", "py::single", "py::a.b + 1", "py::optax.adam(lr=)",
        "py::no_such_module_at_all.f()", "py::optax.adm(1e-3)", "py::optax.adam(zz=1)",
        "py::lambda: 1", "py::optax.adam(*a.b)", "py::import os", "py::__import__('os')",
    ]  # fmt: skip
    return Case("", field.flag(rng.choice(texts)))


def _no_value(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    return Case("", field.flag("")) if _needs_value(field) else None


def _unicode(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    if not _needs_value(field):
        return None
    return Case(
        "",
        field.flag(
            rng.choice(["ünï", "\uff11\uff12", "٣", "🐟", "\u202e1", "\uff11e3"])
        ),
    )


def _huge(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    texts = ["x" * 1_000_000, "(" * 1_000_000, "9" * 1_000_000 + "x", "{" * 1_000_000]
    return Case("", field.flag(rng.choice(texts))) if _needs_value(field) else None


def _bad_path(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    path = str(kontext.Path(*field.parts))
    wrong = rng.choice(
        [
            f"{path}.",
            f".{path}",
            f"{path}..x",
            f"{path}[",
            f"{path}]",
            "",
            f"{path}[0",
            "a b",
        ]
    )
    return Case("", f"--cfg.{wrong}=1")


def _no_match(rng: random.Random, field: Field, fields: list[Field]) -> Case | None:
    return Case("", f"--cfg.**.{rng.choice(['zzzz', 'qqq_qqq'])}=1")


KINDS: dict[str, Callable[..., Case | None]] = {
    "typo": _typo,
    "wrong type": _wrong_type,
    "wrong index": _wrong_index,
    "item of a scalar": _item_of_a_scalar,
    "bad JSON": _bad_json,
    "bad py::": _bad_py,
    "no value": _no_value,
    "unicode": _unicode,
    "1 MB": _huge,
    "bad path": _bad_path,
    "glob without match": _no_match,
}
