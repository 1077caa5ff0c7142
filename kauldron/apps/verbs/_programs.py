"""The exported programs of an app as a forward pass."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from kauldron import export
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.verbs import _layout


class ProgramForward:
    """Runs the programs of an app; weights of members are read once.

    Args:
      folder: Of the app.
      members: Names of the members.
    """

    def __init__(self, folder: pathlib.Path, members: Sequence[str]) -> None:
        self._folder = folder
        self._first = members[0]
        self._read: dict[tuple[str, bool], Any] = {}

    def __call__(
        self, member: str, draw: int | None, batch: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Returns name -> prediction; a draw is the number of what dropout drops."""
        model = self._plain if draw is None else self._dropping
        model.weights = self._weights(member, draw is None)
        numeric = {k: x for k, x in batch.items() if getattr(x, "dtype", "O") != "O"}
        key = None
        if model.spec["key"] is not None:
            key = jax.random.fold_in(jax.random.key(0), draw or 0)
        return model(numeric, key=key)

    @functools.cached_property
    def _plain(self) -> export.Exported:
        return self._load(_layout.PROGRAM)

    @functools.cached_property
    def _dropping(self) -> export.Exported:
        if not (self._folder / _layout.DROPPING_PROGRAM).is_dir():
            raise AppError("The app has no program with dropout.")
        return self._load(_layout.DROPPING_PROGRAM)

    def _load(self, name: str) -> export.Exported:
        weights = self._folder / _layout.member_file(self._first)
        return export.load(self._folder / name, weights=weights)

    def _weights(self, member: str, is_plain: bool) -> Any:
        if (member, is_plain) not in self._read:
            model = self._plain if is_plain else self._dropping
            path = self._folder / _layout.member_file(member)
            self._read[member, is_plain] = model.read_weights(path)
        return self._read[member, is_plain]
