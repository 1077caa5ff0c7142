"""Resolving the keys of an object to values."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kauldron._base import definitions
from kauldron.kontext import (
    _access,
    _by_path,
    _errors,
    _glob,
    _grammar,
    _keys,
    _nearest,
    _path,
    _tree,
)

KeyProblem = _errors.KeyProblem


def resolve_from_keyed_obj(
    context: _keys.Context,
    keyed_obj: object,
    *,
    func: Callable[..., Any] | None = None,
    prefix: str | None = None,
) -> dict[str, Any]:
    """Returns the values that the keys of an object name, ready to be called with.

    Args:
      context: Where to look.
      keyed_obj: An object whose fields are annotated with `Key`. Keys that are `None` are
        left out. A tree of keys gives the same tree of values.
      func: What will be called with the result; its parameters are checked.
      prefix: How the user wrote the object, for messages:
        `"cfg.train_losses['recon']"`. The class name by default.

    Returns:
      Field name -> value.

    Raises:
      RequiredKeyError: A `ValueError`: a required key was left unset.
      KeySignatureError: A `TypeError`: the keys are not the parameters of `func`.
      KeyPathError: A `KeyError`: the context has no such value; names every bad key.

    Example:

    ```python
    import dataclasses
    from kauldron import kontext


    @dataclasses.dataclass
    class L2:
        preds: kontext.Key = kontext.REQUIRED
        targets: kontext.Key = kontext.REQUIRED


    context = {"batch": {"image": 1.0}, "preds": {"image": 0.5}}
    loss = L2(preds="preds.image", targets="batch.image")
    kwargs = kontext.resolve_from_keyed_obj(context, loss)
    assert kwargs == {"preds": 0.5, "targets": 1.0}
    ```
    """
    name = type(keyed_obj).__name__
    keypaths = {k: p for k, p in _keys.get_keypaths(keyed_obj).items() if p is not None}
    unset = [f for f, path in _leaves(keypaths) if _is_required(path)]
    if unset:
        raise _errors.RequiredKeyError(
            f"{name}: required keys are not set: {', '.join(map(repr, unset))}. "
            f"Set {_field(prefix or name, unset[0])} to a path such as 'batch.image'."
        )
    if func is not None:
        _check_signature(func, keypaths, name)
    return _resolve(context, keypaths, name=name, prefix=prefix or name)


def resolve_from_keypaths(
    context: _keys.Context, key_paths: Mapping[str, Any], *, prefix: str = ""
) -> dict[str, Any]:
    """Returns the value for every path (or tree of paths) of a dict.

    Raises:
      RequiredKeyError: A `ValueError`: a path is `None`, or was left unset.
      KeyPathError: A `KeyError`: the context has no such value; names every bad path.
    """
    for field, path in _leaves(key_paths):
        if path is None or _is_required(path):
            seen = "None" if path is None else "not set"
            raise _errors.RequiredKeyError(
                f"Every key needs a path, but {field!r} is {seen}."
            )
    return _resolve(context, key_paths, name="", prefix=prefix)


def check_keys(
    context: _keys.Context,
    obj: object,
    *,
    prefix: str | None = None,
    allow_globs: bool = False,
) -> list[KeyProblem]:
    """Returns what is wrong with the keys of an object; raises nothing.

    Meant for an abstract context (of `jax.ShapeDtypeStruct`, as `jax.eval_shape` gives)
    before anything is compiled.

    Args:
      context: Where to look.
      obj: An object whose fields are annotated with `Key`, or a mapping from field name
        to path.
      prefix: How the user wrote the object: `"cfg.train_losses['recon']"`. The class
        name by default.
      allow_globs: Whether keys may hold `*` and `**`, as those of metrics inside
        `TreeMap` may.

    Returns:
      A `KeyProblem` for every bad key, in the order of the fields.
    """
    keypaths = obj if isinstance(obj, Mapping) else _keys.get_keypaths(obj)
    if prefix is None:
        prefix = "" if isinstance(obj, Mapping) else type(obj).__name__
    problems = []
    for field, path in _leaves({k: p for k, p in keypaths.items() if p is not None}):
        where = _field(prefix, field)
        problem = _check_path(context, path, field=where, allow_globs=allow_globs)
        if problem is not None:
            problems.append(problem)
    return problems


def _check_path(
    context: _keys.Context, path: Any, *, field: str, allow_globs: bool
) -> KeyProblem | None:
    if path is None or _is_required(path):
        detail = "this key must be set, to a path such as 'batch.image'."
        return KeyProblem(
            field, "None" if path is None else "REQUIRED", "required", detail=detail
        )
    try:
        parts = _by_path.to_parts(path)
    except _grammar.PathSyntaxError as error:
        near = _nearest.nearest_paths(context, str(path))
        return KeyProblem(field, str(path), "syntax", nearest=near, detail=str(error))
    except TypeError as error:
        return KeyProblem(field, str(path), "syntax", detail=str(error))
    glob = _path.GlobPath._from_parts(parts)
    plain = glob.first_non_glob_parent.parts
    num_resolved, value = _tree.read_prefix(context, plain)
    if num_resolved < len(plain):
        return _errors.missing_problem(context, plain, num_resolved, value, field=field)
    if glob.has_wildcard:
        return _check_glob(context, glob, field=field, allow_globs=allow_globs)
    return _unset_problem(parts, value, field)


def _check_glob(
    context: _keys.Context, glob: _path.GlobPath, *, field: str, allow_globs: bool
) -> KeyProblem | None:
    if not allow_globs:
        detail = "wildcards are for `TreeMap` and `TreeReduce`; one value is needed."
        return KeyProblem(field, str(glob), "wildcard", detail=detail)
    if _glob.has_match(context, glob.parts):
        return None
    parent = glob.first_non_glob_parent
    return KeyProblem(
        field,
        str(glob),
        resolved=str(parent),
        missing=str(_path.GlobPath._from_parts(glob.parts[len(parent) :])),
        nearest=_nearest.nearest_paths(context, glob.parts, num_resolved=len(parent)),
        detail=f"nothing below {str(parent)!r} matches.",
    )


def _resolve(
    context: _keys.Context, tree: Mapping[str, Any], *, name: str, prefix: str
) -> dict[str, Any]:
    problems: list[KeyProblem] = []
    fields, paths = [], []
    for field, path in _leaves(tree):
        where = _field(prefix, field)
        try:
            parts = (
                _grammar.parse(path) if type(path) is str else _by_path.to_parts(path)
            )
        except _grammar.PathSyntaxError as error:
            near = _nearest.nearest_paths(context, str(path))
            problems.append(
                KeyProblem(where, str(path), "syntax", nearest=near, detail=str(error))
            )
        else:
            fields.append(where)
            paths.append(parts)
    is_flat = not any(map(_is_branch, tree.values()))
    found = _tree.read_prefixes(context, paths)
    for field, parts, (num_resolved, value) in zip(fields, paths, found, strict=True):
        if num_resolved < len(parts) or value is None:
            problem = _problem_of(context, parts, num_resolved, value, field)
            problems += [problem] if problem else []
    if problems:
        raise keys_error(problems, name=name)
    if is_flat:
        return dict(zip(tree, map(operator.itemgetter(1), found), strict=True))
    values = iter([value for _, value in found])
    return {
        field: _map_leaves(lambda _: next(values), path) for field, path in tree.items()
    }


def _problem_of(
    context: _keys.Context,
    parts: _grammar.Parts,
    num_resolved: int,
    value: object,
    field: str,
) -> KeyProblem | None:
    """Returns why a path does not name a value."""
    if num_resolved == len(parts):
        return _unset_problem(parts, value, field)
    _access.refuse_wildcards(parts)
    return _errors.missing_problem(context, parts, num_resolved, value, field=field)


def _unset_problem(
    parts: _grammar.Parts, value: object, field: str
) -> KeyProblem | None:
    """Says so if the key names a part of the context that is not filled.

    Deeper down, `None` is a value like any other: a batch may hold it.
    """
    if value is not None or len(parts) != 1:
        return None
    path = _grammar.format_parts(parts)
    detail = "it is None here: it comes into being later, or not in this kind of step."
    return KeyProblem(field, path, "none", resolved=path, detail=detail)


def keys_error(problems: list[KeyProblem], *, name: str = "") -> _errors.KeyPathError:
    """Returns one error that tells all the problems."""
    head = f"{name}: Invalid keys" if name else "Invalid keys"
    listed = "\n".join(f"- {problem}".replace("\n", "\n  ") for problem in problems)
    return _errors.KeyPathError(
        f"{head} (the context has no such value):\n{listed}", problems
    )


def _field(prefix: str, field: str) -> str:
    return f"{prefix}.{field}" if prefix else field


def _is_required(path: object) -> bool:
    return isinstance(path, str) and path == _keys.REQUIRED


def _is_branch(tree: object) -> bool:
    # A `Path` is a sequence too, but one key.
    return isinstance(tree, Mapping | list | tuple)


def _items(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in tree.items())
    else:
        yield from ((f"[{i}]", value) for i, value in enumerate(tree))


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields `("field['a'][0]", path)` for every path of the fields."""

    def walk(field: str, value: object) -> Iterator[tuple[str, Any]]:
        if _is_branch(value):
            for item, child in _items(value):
                yield from walk(field + item, child)
        else:
            yield field, value

    for field, value in tree.items():
        yield from walk(field, value)


def _map_leaves(func: Callable[[Any], Any], tree: object) -> Any:
    """Applies `func(path)` to every path, in the order of `_leaves`; keeps the structure."""
    if not _is_branch(tree):
        return func(tree)
    values = [_map_leaves(func, child) for _, child in _items(tree)]
    make: Any = type(tree)
    if isinstance(tree, Mapping):
        plain = dict(zip(tree, values, strict=True))
        return plain if make is dict else make(plain)
    return make(*values) if hasattr(tree, "_fields") else make(values)


def _check_signature(
    func: Callable[..., Any], keypaths: Mapping[str, Any], name: str
) -> None:
    required, accepted, takes_any = _parameters(getattr(func, "__func__", func))
    if inspect.ismethod(func):
        accepted = accepted[1:]
        required = tuple(p for p in required if p in accepted)
    unknown = [] if takes_any else [k for k in keypaths if k not in accepted]
    absent = [p for p in required if p not in keypaths]
    if not unknown and not absent:
        return
    reasons = [f"no parameter {k!r}" for k in unknown]
    reasons += [f"no key for the parameter {p!r}" for p in absent]
    raise _errors.KeySignatureError(
        f"{name}: signature does not match the keys: {'; '.join(reasons)}. "
        f"Keys: {', '.join(keypaths) or 'none'}. "
        f"Signature: {getattr(func, '__qualname__', func)}{inspect.signature(func)}. "
        "Fields and parameters must have equal names."
    )


@definitions.cached
def _parameters(
    func: Callable[..., Any],
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Returns required names, accepted names, and whether any name is accepted."""
    params = [
        p
        for p in inspect.signature(func).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY)
    ]
    takes_any = any(
        p.kind is p.VAR_KEYWORD for p in inspect.signature(func).parameters.values()
    )
    required = tuple(p.name for p in params if p.default is p.empty)
    return required, tuple(p.name for p in params), takes_any
