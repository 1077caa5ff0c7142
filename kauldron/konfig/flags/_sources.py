"""Anything that `konfig.diff` accepts as a config: an object, or a file of any kind."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from kauldron.konfig.flags import _config_file
from kauldron.konfig.text import _diff, _json_file
from kauldron.konfig.tree import _config_dict


def diff(a: Any, b: Any) -> _diff.Diff:
    """Returns what differs between two configs.

    References count as their values, lists and tuples as the same. Whether a node is
    shared is compared too.

    Args:
      a: A config, nested dicts, a path of a JSON file or of a workdir that has a
        `config.json`, or of a Python config file.
      b: The other one.

    Returns:
      The differences; `print` it, or look at `.changes`.

    Example:

    ```python
    from kauldron import konfig

    a = konfig.ConfigDict({"seed": 1, "aux": {"width": 64}})
    b = konfig.ConfigDict({"seed": 2, "aux": {"width": 64, "depth": 3}})
    assert str(konfig.diff(a, b)) == "~ cfg.seed: 1 -> 2\\n+ cfg.aux.depth: 3"
    ```
    """
    return _diff.compare(_read(a), _read(b))


def _read(source: Any) -> Any:
    """Returns the config that a path, or a config in any form, stands for."""
    if not isinstance(source, str | os.PathLike):
        return _config_dict.as_config(source)
    name = pathlib.Path(source).name
    if name.endswith(".py") or ".py:" in name:
        return _config_file.load_config_file(os.fspath(source))
    return _json_file.load(source)
