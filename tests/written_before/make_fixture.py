"""Wrote `fixture/spellings.json`: `python -m tests.written_before.make_fixture`.

The names that a config of that day had for every public object. It is not written again:
what is on disk somewhere must load for good. `fixture/run` is the workdir of
`examples/digits_classifier.py` with `num_train_steps=6`, `train_ds.batch_size=16`,
`aux.num_features=2`, without event files and `launches/`.
"""

from __future__ import annotations

import inspect
import json
import pathlib
import sys
import types

from kauldron import kd


def spellings() -> dict[str, str]:
    """Returns `kd.room.Name` -> where a config record says that the object is."""
    found = {}
    for room in kd.__all__:
        namespace = getattr(kd, room)
        for name in getattr(namespace, "__all__", ()):
            obj = getattr(namespace, name)
            if isinstance(obj, types.ModuleType) or not (
                inspect.isclass(obj) or inspect.isfunction(obj)
            ):
                continue
            if getattr(sys.modules[obj.__module__], obj.__name__, None) is not obj:
                continue  # such as `PyTree[ArraySpec]`
            found[f"kd.{room}.{name}"] = f"{obj.__module__}:{obj.__qualname__}"
    return found


if __name__ == "__main__":
    path = pathlib.Path(__file__).parent / "fixture" / "spellings.json"
    path.write_text(json.dumps(spellings(), indent=1, sort_keys=True) + "\n")
