"""Overrides with several values: `--cfg.x='{1,2}'`, `zip{1,2}`, `loguniform(1e-4,1e-2)`.

`{...}` are combined with each other, all with all; those that begin with `zip` run in
step; `uniform`, `loguniform`, `randint` and `choice` are drawn. What a draw gives depends
on the seed, the path and its number alone, so that more draws leave the first ones as
they are.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kauldron.konfig import _errors
from kauldron.konfig.flags import _override
from kauldron.konfig.text import _literals

_LIST = re.compile(r"\s*(zip)?\{(.*)\}\s*", re.DOTALL)
_CALL = re.compile(r"\s*(\w+)\((.*)\)\s*", re.DOTALL)
_DRAWS = ("uniform", "loguniform", "randint", "choice")
_OPENING = {"{": "}", "[": "]", "(": ")"}
# Digits of what is drawn, so that it can stand in the name of a folder.
_SIGNIFICANT = 4

# Values by path, that belong together.
_Item = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Draw:
    path: str
    draw: Callable[[random.Random], Any]


def expand_choices(
    overrides: Iterable[_override.Override],
    *,
    num_samples: int | None = None,
    seed: int = 0,
) -> tuple[list[_override.Override], list[dict[str, Any]]]:
    """Returns the overrides with one value, and the combinations of the others.

    Args:
      overrides: As given on the command line.
      num_samples: How often the random ones are drawn, for each combination of the
        others.
      seed: Of the draws.

    Returns:
      The overrides that all runs share; and `{path: value}` for each run, a single empty
      one if nothing has several values. The path that was given last changes fastest.

    Raises:
      ConfigError: If there is no value, values that run in step are not equally many,
        a path is given twice, or `num_samples` does not fit.

    Example:

    ```python
    from kauldron import konfig

    given = konfig.parse_overrides(["--cfg.seed={1,2}", "--cfg.aux.width=8"])
    fixed, runs = konfig.expand_choices(given)
    assert [o.path for o in fixed] == ["aux.width"]
    assert runs == [{"seed": 1}, {"seed": 2}]
    ```
    """
    fixed: list[_override.Override] = []
    axes: list[list[_Item]] = []
    zipped: dict[str, list[Any]] = {}
    place = 0  # among the axes, of those that run in step
    draws: list[_Draw] = []
    overrides = list(overrides)
    for override in overrides:
        text = override.value if override.is_text else ""
        if (values := _find_values(text, override)) is not None:
            _check_given_once(override, overrides)
            if text.lstrip().startswith("zip"):
                if not zipped:
                    axes.append([])  # filled when all are known
                    place = len(axes) - 1
                zipped[override.path] = values
            else:
                axes.append([{override.path: value} for value in values])
        elif (draw := _find_draw(text, override)) is not None:
            _check_given_once(override, overrides)
            draws.append(draw)
        else:
            fixed.append(override)
    if zipped:
        axes[place] = _in_step(zipped)
    axes.append(_samples(draws, num_samples, seed))
    combinations = itertools.product(*axes)
    return fixed, [{k: v for item in c for k, v in item.items()} for c in combinations]


def _find_values(text: str, override: _override.Override) -> list[Any] | None:
    """Returns the values of `{a,b}` or `zip{a,b}`; `None` for anything else."""
    found = _LIST.fullmatch(text)
    if not found or (not found[1] and _is_dict(text)):
        return None
    items = _split(found[2])
    if items and not items[-1].strip():
        items.pop()  # a comma at the end
    if not items:
        raise _errors.ConfigError(
            f"{override.label}: there is no value between the braces, so there is nothing "
            "to run. Write `{1,2}`; an empty dict is `py::{}`."
        )
    if not all(item.strip() for item in items):
        raise _errors.ConfigError(
            f"{override.label}: a value is missing between two commas; an empty text is "
            "written `''`."
        )
    return [_literals.parse(item.strip()) for item in items]


def parse_call(text: str) -> tuple[str, list[Any]] | None:
    """Returns name and values of text such as `choice(relu,gelu)`; `None` if it is none.

    Example:

    ```python
    from kauldron import konfig

    assert konfig.parse_call("float(1e-4, 0.1, log)") == ("float", [1e-4, 0.1, "log"])
    ```
    """
    found = _CALL.fullmatch(text)
    if not found:
        return None
    return found[1], [_literals.parse(item.strip()) for item in _split(found[2])]


def _is_dict(text: str) -> bool:
    """Whether a text in braces is a dict with something in it."""
    try:
        return isinstance(ast.parse(text.strip(), mode="eval").body, ast.Dict) and bool(
            text.strip()[1:-1].strip()
        )
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return isinstance(_literals.parse(text), dict)


def _split(text: str) -> list[str]:
    """Splits at the commas that are outside of brackets and quotes."""
    items = [""]
    expected: list[str] = []
    quote = ""
    for char in text:
        if quote:
            quote = "" if char == quote and not items[-1].endswith("\\") else quote
        elif char in "'\"":
            quote = char
        elif char in _OPENING:
            expected.append(_OPENING[char])
        elif expected and char == expected[-1]:
            expected.pop()
        elif char == "," and not expected:
            items.append("")
            continue
        items[-1] += char
    return items if len(items) > 1 or items[0].strip() else []


def _in_step(values: dict[str, list[Any]]) -> list[_Item]:
    counts = {path: len(v) for path, v in values.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"`{path}` has {n}" for path, n in counts.items())
        raise _errors.ConfigError(
            f"Values of `zip{{...}}` run in step, so each has equally many: {listed}."
        )
    paths = list(values)
    items = zip(*values.values(), strict=True)
    return [dict(zip(paths, item, strict=True)) for item in items]


def _find_draw(text: str, override: _override.Override) -> _Draw | None:
    """Returns how `uniform(a,b)` and the like are drawn; `None` for anything else."""
    called = parse_call(text)
    if called is None or called[0] not in _DRAWS:
        return None
    kind, args = called
    if kind == "choice":
        if not args:
            raise _errors.ConfigError(f"{override.label}: there is nothing to choose.")
        return _Draw(override.path, lambda rng: rng.choice(args))
    low, high = _check_bounds(kind, args, override)
    if kind == "randint":
        return _Draw(override.path, lambda rng: rng.randint(low, high))
    if kind == "uniform":
        return _Draw(override.path, lambda rng: _round(rng.uniform(low, high)))
    logs = math.log(low), math.log(high)
    return _Draw(override.path, lambda rng: _round(math.exp(rng.uniform(*logs))))


def _check_bounds(
    kind: str, args: Sequence[Any], override: _override.Override
) -> tuple[Any, Any]:
    number = int if kind == "randint" else int | float
    is_number = [isinstance(x, number) and not isinstance(x, bool) for x in args]
    is_range = len(args) == 2 and all(is_number) and args[0] < args[1]
    if is_range and (kind != "loguniform" or args[0] > 0):
        return args[0], args[1]
    needs = "two whole numbers" if kind == "randint" else "two numbers"
    positive = ", both above 0" if kind == "loguniform" else ""
    raise _errors.ConfigError(
        f"{override.label}: `{kind}(low,high)` takes {needs}, the smaller one first"
        f"{positive}."
    )


def _round(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT}g}")


def _samples(draws: list[_Draw], num_samples: int | None, seed: int) -> list[_Item]:
    if not draws:
        if num_samples is not None:
            raise _errors.ConfigError(
                "There is nothing to draw: no value is `uniform(a,b)`, `loguniform(a,b)`, "
                "`randint(a,b)` or `choice(a,b,...)`."
            )
        return [{}]
    if num_samples is None:
        raise _errors.ConfigError(
            f"`{draws[0].path}` is drawn at random: say how often, such as "
            "`--num_samples=20`."
        )
    return [
        {d.path: d.draw(random.Random(f"{seed}/{d.path}/{i}")) for d in draws}
        for i in range(num_samples)
    ]


def _check_given_once(
    override: _override.Override, overrides: Sequence[_override.Override]
) -> None:
    same = [o for o in overrides if o.parts == override.parts]
    if len(same) > 1:
        raise _errors.ConfigError(
            f"{override.name} is given twice: {', '.join(o.label for o in same)}."
        )
