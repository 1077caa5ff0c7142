"""The space of a study: which fields of the config differ, and in which values."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from kauldron import konfig, kontext
from kauldron._base import errors
from kauldron.tracking.tuning import _values
from kauldron.tracking.tuning._values import StudyError
from kauldron.workdir import sweep_file, workdirs

_IF = " if "
# More combinations than these are not looked through for those that are left.
_MAX_LISTED = 100_000


class Space:
    """Fields of a config and their values; some only under conditions.

    Args:
      values: Path -> its values.

    Raises:
      StudyError: If a condition is about something else, or about itself.
    """

    def __init__(self, values: Mapping[str, _values.Values]) -> None:
        if not values:
            raise StudyError(
                "Nothing differs between the trials: say what does, such as "
                "`--space='optimizer.learning_rate=float(1e-4,1e-1,log)'`."
            )
        self._when = {p: _to_texts(v.when) for p, v in values.items()}
        self._check_conditions(values)
        # Those that a condition is about come before those that depend on it.
        order = sorted(values, key=lambda path: self._depth(path, ()))
        self.values = {path: values[path] for path in order}

    def __str__(self) -> str:
        return "; ".join(f"{path}={text}" for path, text in self.as_dict().items())

    def as_dict(self) -> dict[str, str]:
        """Returns path -> text, see `parse`."""
        return {p: f"{v}{self._condition(p)}" for p, v in self.values.items()}

    @property
    def count(self) -> int | None:
        """How many combinations there are at most; `None`: more than can be tried."""
        total = 1
        for values in self.values.values():
            if values.count is None:
                return None
            total *= values.count
        return total

    def is_active(self, path: str, texts: Mapping[str, str]) -> bool:
        """Whether a field is set, where others have these values."""
        return all(texts.get(p) in among for p, among in self._when[path].items())

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Returns path -> value, as a trial of Optuna proposes."""
        chosen: dict[str, Any] = {}
        for path, values in self.values.items():
            if self.is_active(path, to_texts(chosen)):
                proposed = _suggest(trial, path, values.distribution())
                chosen[path] = values.to_value(proposed)
        return chosen

    def params(self, texts: Mapping[str, str]) -> tuple[dict, dict] | None:
        """Returns values and distributions of a trial as Optuna has them.

        Returns `None` if it is not of this space.

        Args:
          texts: Path -> value, as on the command line.
        """
        active = [p for p in self.values if self.is_active(p, texts)]
        if set(active) != set(texts):
            return None
        params = {p: self.values[p].from_text(texts[p]) for p in active}
        if any(value is None for value in params.values()):
            return None
        return params, {p: self.values[p].distribution() for p in active}

    def untried(self, tried: Collection[str], seed: int) -> dict[str, Any] | None:
        """Returns a combination that was not tried, any of them; `None` if all were.

        Args:
          tried: Keys of trials, see `key`.
          seed: Which of them.
        """
        if self.count is None or self.count > _MAX_LISTED:
            return None
        paths = list(self.values)
        left: dict[str, dict[str, Any]] = {}
        for combination in itertools.product(*(v.all() for v in self.values.values())):
            chosen: dict[str, Any] = {}
            for path, value in zip(paths, combination, strict=True):
                if self.is_active(path, to_texts(chosen)):
                    chosen[path] = value
            left.setdefault(key(chosen), chosen)
        left = {k: v for k, v in left.items() if k not in tried}
        return random.Random(seed).choice(list(left.values())) if left else None

    def of_config(self, cfg: konfig.ConfigDict) -> dict[str, Any] | None:
        """Returns the values that a config has; `None` if one is not of this space."""
        found: dict[str, Any] = {}
        for path, values in self.values.items():
            if not self.is_active(path, to_texts(found)):
                continue
            value: Any = kontext.get_by_path(cfg, path, default=None)
            if isinstance(value, bool | int | float | str) or value is None:
                text = konfig.to_flag_value(value)
                if values.from_text(text) is not None:
                    found[path] = value
                    continue
            return None
        return found

    def check(self, cfg: str, flags: Sequence[str], trust: Sequence[str]) -> None:
        """Makes a config with a few values of each range, so that mistakes show at once.

        Raises:
          ConfigError: A path that does not exist, or a value that does not fit.
        """
        shared = konfig.parse_overrides(list(flags))
        base = workdirs.load_config_file(cfg, shared, trusted=trust)
        for path, values in self.values.items():
            for value in values.samples:
                override = konfig.Override(
                    path, konfig.to_flag_value(value), flag=f"--space={path}={values}"
                )
                konfig.apply_overrides(_copied(base), [override])

    def _check_conditions(self, values: Mapping[str, _values.Values]) -> None:
        for path, when in self._when.items():
            for other, among in when.items():
                if other not in values:
                    near = errors.did_you_mean(other, [p for p in values if p != path])
                    raise StudyError(
                        f"`{path}` is set under a condition on `{other}`, which does "
                        f"not differ between trials.{near}"
                    )
                for text in among:
                    if values[other].from_text(text) is None:
                        raise StudyError(
                            f"`{path}` is set if `{other}` is {text}, which it never "
                            f"is: `{values[other]}`."
                        )

    def _depth(self, path: str, below: tuple[str, ...]) -> int:
        """Returns how many conditions stand behind each other."""
        if path in below:
            circle = " -> ".join((*below[below.index(path) :], path))
            raise StudyError(f"The conditions go in a circle: {circle}.")
        others = [self._depth(p, (*below, path)) for p in self._when[path]]
        return 1 + max(others) if others else 0

    def _condition(self, path: str) -> str:
        parts = [f"{p}={'|'.join(among)}" for p, among in self._when[path].items()]
        return f"{_IF}{' and '.join(parts)}" if parts else ""


def parse(texts: Iterable[str]) -> dict[str, _values.Values]:
    """Returns path -> values of texts such as `aux.num_features=int(8,64)`.

    A condition stands behind: `aux.rate=float(0,1) if aux.kind=dropout|noise`.

    Raises:
      StudyError: If one is something else, or a path is given twice.
    """
    found: dict[str, _values.Values] = {}
    for text in texts:
        path, equals, rest = text.partition("=")
        path = path.strip().removeprefix("--").removeprefix("cfg.")
        if not equals or not path:
            raise StudyError(
                f"`{text}`: a path and its values are needed, such as "
                "`--space='aux.num_features=int(8,64)'`."
            )
        if path in found:
            raise StudyError(f"`{path}` is given twice.")
        call, _, condition = rest.partition(_IF)
        values = _values.parse(call.strip())
        if condition:
            when = _parse_condition(condition, text)
            values = dataclasses.replace(values, when=when)
        found[path] = values
    return found


def _parse_condition(condition: str, text: str) -> dict[str, list[Any]]:
    when: dict[str, list[Any]] = {}
    for part in condition.split(" and "):
        path, _, among = part.strip().partition("=")
        called = konfig.parse_call(f"values({among.replace('|', ',')})")
        if called is None or not called[1]:
            raise StudyError(
                f"`{text}`: a condition is a path and values, such as "
                "`if aux.kind=dropout|noise`."
            )
        when[path.removeprefix("cfg.")] = called[1]
    return when


def _to_texts(when: _values.Condition | None) -> dict[str, list[str]]:
    """Returns the values of a condition as on the command line."""
    texts = {}
    for path, among in (when or {}).items():
        listed = among if isinstance(among, list | tuple) else [among]
        texts[path] = [konfig.to_flag_value(value) for value in listed]
    return texts


def to_texts(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Returns values as on the command line."""
    return {path: konfig.to_flag_value(value) for path, value in chosen.items()}


def key(chosen: Mapping[str, Any]) -> str:
    """Returns what is equal for trials that set the same."""
    return sweep_file.Trial(name="", overrides=to_texts(chosen)).key


def _copied(cfg: konfig.ConfigDict) -> konfig.ConfigDict:
    return konfig.ConfigDict({"cfg": cfg}).cfg.copy_and_resolve_references()


def _suggest(trial: Any, path: str, distribution: Any) -> Any:
    distributions = _values.load_optuna("optuna.distributions")
    if isinstance(distribution, distributions.CategoricalDistribution):
        return trial.suggest_categorical(path, distribution.choices)
    kwargs = {"log": distribution.log, "step": distribution.step}
    if isinstance(distribution, distributions.IntDistribution):
        return trial.suggest_int(path, distribution.low, distribution.high, **kwargs)
    return trial.suggest_float(path, distribution.low, distribution.high, **kwargs)
