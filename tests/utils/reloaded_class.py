"""A class that IPython reloads in place, in a process of its own.

    python -m tests.utils.reloaded_class

Outside of IPython nothing is reloaded, so what is known of a class is not compared there.
"""

from __future__ import annotations

import dataclasses

import pytest
from IPython.extensions import autoreload  # before kauldron, as in a notebook

from kauldron import kd, konfig


def _loss(**fields):
    """Returns a class of losses as a module defines it, with the fields given."""
    annotations = {name: type_ for name, (type_, _) in fields.items()}
    values = {name: value for name, (_, value) in fields.items()}

    def get_values(self, **kwargs):
        return sum(kwargs.values()) * getattr(self, "factor", 1.0)

    cls = type(
        "Loss_",
        (kd.losses.Loss,),
        {"__annotations__": annotations, "get_values": get_values, **values},
    )
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def main():
    """As `%autoreload 2` does: variables hold the old class, with the parts of the new."""
    global Loss_
    Loss_ = _loss(a=(kd.kontext.Key, "preds.a"))
    node = konfig.ConfigDict({"__qualname__": f"{__name__}:Loss_", "factor": 3.0})
    with pytest.raises(konfig.ConfigError, match="no argument 'factor'"):
        konfig.resolve(node)
    with pytest.raises(TypeError, match="no argument 'factor'"):
        Loss_(factor=3.0)
    assert "b" not in kd.kontext.get_keypaths(Loss_())
    autoreload.update_class(
        Loss_,
        _loss(
            a=(kd.kontext.Key, "preds.a"),
            b=(kd.kontext.Key, "batch.b"),
            factor=(float, 1.0),
        ),
    )
    assert konfig.resolve(node).factor == Loss_(factor=3.0).factor == 3.0
    keys = kd.kontext.get_keypaths(Loss_())
    assert (keys["a"], keys["b"]) == ("preds.a", "batch.b")


if __name__ == "__main__":
    main()
