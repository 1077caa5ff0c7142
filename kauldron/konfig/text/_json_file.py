"""Reading configs from JSON, such as a workdir's `config.json`, as untrusted."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
from collections.abc import Iterable
from typing import Any

from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _declarations, _policy
from kauldron.konfig.tree import _config_dict, _node_trust


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
    data = read_json(path)
    policy = _policy.Policy.of(os.fspath(path), trusted)
    origin = _origin.declare(_origin.Origin(os.fspath(path)))
    with origin, _declarations.only_trusted(policy.trusted):
        cfg = _config_dict.as_config(data)
    _node_trust.mark(cfg, policy)
    return cfg


def read_json(path: str | os.PathLike[str]) -> Any:
    """Returns the data of a JSON file.

    Raises:
      ConfigFileError: If there is no such file, or it is not JSON.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _errors.MissingFileError(
            f"There is no config at {os.fspath(path)!r}. A workdir has a `config.json` "
            "once a run has started in it."
        ) from None
    except (ValueError, RecursionError) as error:
        raise _errors.ConfigFileError(
            f"{os.fspath(path)!r} is not JSON: {error}.{_remedy(path)}"
        ) from error


def _remedy(path: pathlib.Path) -> str:
    """Returns what helps if the config of a run is damaged."""
    if path.name != "config.json":
        return ""
    python = path.with_suffix(".py")
    if not python.exists():
        return (
            " It is damaged: put a copy of it there. A run that continues with its own "
            f"config file (`kauldron train --cfg=FILE --cfg.workdir={path.parent}`) "
            "writes it anew."
        )
    # Texts in double quotes: the shell has the single ones.
    source, target = (json.dumps(os.fspath(file)) for file in (python, path))
    program = (
        f"from kauldron import konfig; cfg = konfig.load_config_file({source}); "
        f'open({target}, "w").write(cfg.to_json(indent=2))'
    )
    return (
        f" It is damaged; the same config is in {os.fspath(python)!r}. If the run is your "
        f"own, this writes it anew:\n  python -c {shlex.quote(program)}"
    )
