"""Sweeps: functions of a config file that yield overrides.

```python
def sweep():  # the default one
    for learning_rate in (1e-3, 3e-4):
        yield {"optimizer.learning_rate": learning_rate}


def sweep_model():
    yield {"model.depth": 2}
    yield {"model.depth": 4}
```
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors
from kauldron.konfig.flags import _config_file
from kauldron.konfig.text import _literals
from kauldron.konfig.tree import _config_dict, _json

DEFAULT = "default"
_PREFIX = "sweep_"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One sweep of a config file.

    Attributes:
      name: `default` for `sweep()`, `model` for `sweep_model()`.
      function: The generator function.
      description: First line of its docstring; may be empty.
    """

    name: str
    function: Callable[[], Iterable[Mapping[str, Any]]]
    description: str = ""

    def items(self) -> list[dict[str, Any]]:
        """Returns the overrides of each run, `{path: value}`.

        Raises:
          ConfigError: If the function raises, or yields something else.
        """
        where = f"{self.function.__name__}()"
        filename = getattr(self.function.__code__, "co_filename", "")
        with _config_file.explain(filename, where):
            made = self.function()
        if made is None:
            raise _errors.ConfigTypeError(
                f"{where} in {filename} returns nothing: it must yield dicts of paths and "
                "values, such as {'optimizer.learning_rate': 1e-3}."
            )
        with _config_file.explain(filename, where):
            found = list(made)
        for item in found:
            if not isinstance(item, Mapping) or not all(
                isinstance(k, str) for k in item
            ):
                raise _errors.ConfigTypeError(
                    f"{where} must yield dicts of paths and values, such as "
                    f"{{'optimizer.learning_rate': 1e-3}}, got {_errors.short(item)}."
                )
        return [dict(item) for item in found]


def find_sweeps(source: Any) -> dict[str, Sweep]:
    """Returns the sweeps of a config file by name, in the order of the file.

    Args:
      source: Path of a Python config file (`:ARG` is ignored), or the module.
    """
    module = source
    if not isinstance(source, types.ModuleType):
        module = _config_file.import_file(_config_file.split_argument(str(source))[0])
    sweeps = {}
    for name, value in vars(module).items():
        if not inspect.isfunction(value):
            continue
        if name == "sweep" or (name.startswith(_PREFIX) and len(name) > len(_PREFIX)):
            key = DEFAULT if name == "sweep" else name[len(_PREFIX) :]
            doc = (inspect.getdoc(value) or "").partition("\n")[0]
            sweeps[key] = Sweep(key, value, doc)
    return sweeps


def expand_sweeps(source: Any, names: Any = True) -> list[dict[str, Any]]:
    """Returns the overrides of every run of a sweep.

    Args:
      source: Path of a Python config file, or the module.
      names: `True` for the default sweep; a name; several, as a list or comma
        separated, for their product (of equal paths, the later sweep wins); `"*"` for
        the product of all; `None` or `False` for a single run without overrides.

    Raises:
      ConfigKeyError: If there is no sweep of that name.
    """
    sweeps = find_sweeps(source)
    chosen = [_get(sweeps, name).items() for name in _to_names(names, sweeps)]
    return [
        {path: value for item in combination for path, value in item.items()}
        for combination in itertools.product(*chosen)
    ]


def _to_names(names: Any, sweeps: Mapping[str, Sweep]) -> list[str]:
    if names is None or names is False:
        return []
    if names is True:
        return [DEFAULT]
    if isinstance(names, str):
        if names.strip() == "*":
            return list(sweeps)
        return [name.strip() for name in names.split(",")]
    return list(names)


def _get(sweeps: Mapping[str, Sweep], name: str) -> Sweep:
    if name in sweeps:
        return sweeps[name]
    function = "sweep" if name == DEFAULT else f"{_PREFIX}{name}"
    raise _errors.ConfigKeyError(
        f"There is no sweep {name!r}: the config file defines no `{function}()`."
        f"{errors.did_you_mean(name, sweeps)} "
        f"Its sweeps: {_errors.list_names(list(sweeps)) or '(none)'}."
    )


def to_flags(overrides: Mapping[str, Any], *, name: str = "cfg") -> list[str]:
    """Returns overrides as flags: `["--cfg.seed=1"]`.

    Args:
      overrides: Path -> value.
      name: Name of the config flag.
    """
    flags = []
    for path, value in overrides.items():
        dot = "" if path.startswith("[") else "."
        flags.append(f"--{name}{dot}{path}={to_flag_value(value)}")
    return flags


def to_flag_value(value: Any) -> str:
    """Returns the text that an override of this value has on the command line."""
    if isinstance(value, str):
        is_plain = value == value.strip() and value and _literals.is_plain_text(value)
        return value if is_plain else repr(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return repr(value)
    try:
        text = repr(value)
        if _literals.parse(text) == value:
            return text
    except (TypeError, ValueError):
        pass
    return json.dumps(_json.to_plain(_config_dict.ConfigDict({"v": value})["v"]))
