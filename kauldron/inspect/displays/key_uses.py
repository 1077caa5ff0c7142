"""A key of a run: where its value comes from, its shape, who reads it."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kauldron import kontext, metrics
from kauldron._base import errors

if TYPE_CHECKING:
    from kauldron import train

_ORIGINS = {
    "step": "the number of updates applied before this step",
    "batch": "`cfg.train_ds`",
    "params": "the parameters of `cfg.model`, before the update",
    "collections": "other variables of `cfg.model`",
    "preds": "what `cfg.model` returns",
    "interms": "what a module of `cfg.model` returns or sows",
    "loss_states": "states of `cfg.train_losses`",
    "loss_total": "the sum of `cfg.train_losses`, weighted",
    "grads": "gradients of the losses with respect to `params`; in training only",
    "updates": "what `cfg.optimizer` adds to `params`; in training only",
    "opt_state": "the state of `cfg.optimizer`, before the update; in training only",
}
_GROUPS = ("losses", "metrics", "summaries")


class UnknownKeyError(errors.UserError, KeyError):
    """A key that no step of the run has."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyReader:
    """What reads a key.

    Attributes:
      field: As in the config: `cfg.train_losses['xentropy'].logits`.
      kind: Its class.
      reads: The key that it names; it may be above or below the key asked for.
    """

    field: str
    kind: str
    reads: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyExplanation:
    """All there is to say about a key.

    Attributes:
      key: The key.
      specs: Path -> dtype and shape of each array it names; the key alone for one array.
      origin: Where the value comes from.
      readers: Who reads it, in the order of the config.
    """

    key: str
    specs: Mapping[str, str]
    origin: str
    readers: tuple[KeyReader, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns what JSON can hold."""
        return dataclasses.asdict(self) | {"specs": dict(self.specs)}

    def __str__(self) -> str:
        lines = [f"{path}: {spec}" for path, spec in self.specs.items()]
        lines.append(f"from: {self.origin}")
        if not self.readers:
            lines.append("read by: nothing")
            return "\n".join(lines)
        lines.append("read by:")
        for reader in self.readers:
            other = "" if reader.reads == self.key else f", as {reader.reads!r}"
            lines.append(f"  {reader.field} ({reader.kind}){other}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def explain_key(trainer: train.Trainer, key: str) -> KeyExplanation:
    """Returns where a key of a run comes from, its shape, and who reads it.

    Args:
      trainer: Nothing of it is computed.
      key: A path such as `preds.logits`; of an array, or of a tree of arrays.

    Raises:
      UnknownKeyError: A `KeyError` with the nearest keys, if a training step has no such
        value.
      PathSyntaxError: A `ValueError`, if the text is no path.
    """
    path = kontext.Path.from_str(key)
    context = trainer.context_specs
    try:
        value = kontext.get_by_path(context, path)
    except (KeyError, ValueError, TypeError):
        value = None
    leaves = {} if value is None else kontext.flatten_with_path(value)
    if value is None or not leaves:
        nearest = [str(n) for n in kontext.nearest_paths(context, key)]
        hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
        raise UnknownKeyError(
            f"No step of this run has {key!r}.{hint} `kauldron run eval_shape` lists "
            "every key."
        )
    if hasattr(value, "dtype"):
        specs = {key: kontext.format_spec(value)}
    else:
        specs = {
            str(path + kontext.Path.from_str(str(below))): kontext.format_spec(x)
            for below, x in leaves.items()
        }
    return KeyExplanation(
        key=key,
        specs=specs,
        origin=_origin(trainer, path),
        readers=tuple(
            reader for reader in _readers(trainer) if _meet(reader.reads, path)
        ),
    )


def readers_of(trainer: train.Trainer) -> tuple[KeyReader, ...]:
    """Returns everything of a run that reads a key, in the order of the config."""
    return tuple(_readers(trainer))


def _origin(trainer: train.Trainer, path: kontext.Path) -> str:
    root = str(path[0])
    origin = _ORIGINS.get(root, "the step")
    if root in ("preds", "params", "interms"):
        origin = origin.replace("`cfg.model`", f"`cfg.model` ({_kind(trainer.model)})")
    if root == "batch" and len(path) > 1:
        changed = [
            f"{_kind(transform)} ({name})"
            for name, transform in _transforms(trainer.train_ds)
            if str(path[1]) in _named(transform)
        ]
        if changed:
            origin += f", last changed by its transform {changed[-1]}"
    if root in ("params", "grads", "updates") and len(path) > 2:
        module = ".".join(str(part) for part in path[1:-1])
        origin += f": {str(path[-1])!r} of the module {module!r}"
    return origin


def _transforms(ds: Any) -> Iterator[tuple[str, Any]]:
    transforms = getattr(ds, "transforms", None) or ()
    if isinstance(transforms, Mapping):
        yield from ((f"transforms[{k!r}]", t) for k, t in transforms.items())
    elif isinstance(transforms, list | tuple):
        yield from ((f"transforms[{i}]", t) for i, t in enumerate(transforms))


def _named(transform: Any) -> set[str]:
    """Returns the keys of an element that a transform may write."""
    found: set[str] = set()
    for name in ("key", "keys", "rename", "copy", "values"):
        value = getattr(transform, name, None)
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, Mapping):
            found |= {v for v in value.values() if isinstance(v, str)}
            found |= {k for k in value if isinstance(k, str)}
        elif isinstance(value, list | tuple):
            found |= {v for v in value if isinstance(v, str)}
    return found


def _readers(trainer: train.Trainer) -> Iterator[KeyReader]:
    yield from _of_object("cfg.model", trainer.model)
    for group in _GROUPS:
        yield from _of_tree(f"cfg.train_{group}", getattr(trainer, f"train_{group}"))
    for name, evaluator in (trainer.evals or {}).items():
        field = f"cfg.evals[{name!r}]"
        for group in _GROUPS:
            yield from _of_tree(f"{field}.{group}", getattr(evaluator, group, None))
        yield from _of_object(field, evaluator)


def _of_tree(field: str, tree: Any) -> Iterator[KeyReader]:
    if isinstance(tree, metrics.Metric):
        yield from _of_object(field, tree)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _of_tree(f"{field}[{key!r}]", value)
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _of_tree(f"{field}[{i}]", value)


def _of_object(field: str, keyed: Any) -> Iterator[KeyReader]:
    for name, keys in kontext.get_keypaths(keyed).items():
        for key in kontext.list_keys(keys):
            if key != kontext.REQUIRED:
                yield KeyReader(field=f"{field}.{name}", kind=_kind(keyed), reads=key)


def _meet(read: str, path: kontext.Path) -> bool:
    """Whether what is read holds the path, or is held by it."""
    parts = _parse(read)
    return all(
        ours == theirs or not isinstance(theirs, str | int)
        for ours, theirs in zip(path.parts, parts, strict=False)
    )


@functools.lru_cache(maxsize=1024)
def _parse(key: str) -> tuple[Any, ...]:
    """Returns the parts of a key; of one with wildcards, those before the first."""
    before = key.split("*")[0].rstrip(".")
    try:
        return kontext.Path.from_str(before).parts if before else ()
    except kontext.PathSyntaxError:
        return ()


def _kind(value: Any) -> str:
    return type(value).__name__
