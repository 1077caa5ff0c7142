"""`AppVerbs`: what one asks of an app, the same here and on a server."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.results import Result

# Called with how far it is, between 0 and 1, and what that is in words.
Progress: TypeAlias = Callable[[float, str], None]

# A file, several, or name of an input -> one or several.
Files: TypeAlias = (
    str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | Mapping[str, str | os.PathLike[str] | Sequence[str | os.PathLike[str]]]
)


def as_groups(files: Files | None) -> dict[str, tuple[str, ...]]:
    """Returns name of an input -> files; what has no name is of the first input."""
    if files is None:
        return {}
    groups = files if isinstance(files, Mapping) else {"": files}
    return {name: _listed(paths) for name, paths in groups.items()}


def _listed(paths: Any) -> tuple[str, ...]:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return tuple(os.fspath(path) for path in several)


class AppVerbs(abc.ABC):
    """An app that can be asked, wherever it is."""

    @abc.abstractmethod
    def inspect(self) -> Manifest:
        """Returns what the app says about itself."""

    @abc.abstractmethod
    def call(
        self,
        call: Call,
        *,
        out: str | os.PathLike[str],
        progress: Progress = lambda share, text: None,
    ) -> Result:
        """Does what a call asks, as the methods of the verbs do.

        Args:
          call: What is asked.
          out: A new or empty folder for the results.
          progress: Called with how far it is, between 0 and 1, and that in words.

        Raises:
          AppError: If the app cannot do it; nothing was computed.
        """

    def infer(
        self,
        inputs: Files,
        *,
        out: str | os.PathLike[str],
        ensemble: int | Sequence[str] | None = None,
        tta: int = 0,
        mc: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> Result:
        """Predicts files.

        Args:
          inputs: A file, a folder, several, or name of an input -> files.
          out: A new or empty folder for the results.
          ensemble: How many members predict, or their names; all unless given.
          tta: How many augmented copies are predicted, too.
          mc: How many draws of dropout are predicted.
          overrides: Path in the config -> value, as far as the app allows.

        Raises:
          AppError: If the app cannot do it; nothing was computed.
        """
        return self.call(
            Call(
                verb="infer",
                inputs=as_groups(inputs),
                ensemble=_members(ensemble),
                tta=tta,
                mc=mc,
                overrides=overrides or {},
            ),
            out=out,
        )

    def evaluate(
        self,
        inputs: Files,
        references: Files,
        *,
        out: str | os.PathLike[str],
        masks: Files | None = None,
        ensemble: int | Sequence[str] | None = None,
        tta: int = 0,
        mc: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> Result:
        """Predicts files, and compares with references; for the rest, see `infer`.

        Args:
          inputs: See `infer`.
          references: What is right, like `inputs`.
          out: See `infer`.
          masks: Where it counts.
          ensemble: See `infer`.
          tta: See `infer`.
          mc: See `infer`.
          overrides: See `infer`.

        Raises:
          AppError: If the app cannot do it; nothing was computed.
        """
        return self.call(
            Call(
                verb="evaluate",
                inputs=as_groups(inputs),
                references=as_groups(references),
                masks=as_groups(masks).get("", ()),
                ensemble=_members(ensemble),
                tta=tta,
                mc=mc,
                overrides=overrides or {},
            ),
            out=out,
        )

    def uncertainty(
        self,
        inputs: Files,
        *,
        out: str | os.PathLike[str],
        ensemble: int | Sequence[str] | None = None,
        tta: int = 0,
        mc: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> Result:
        """Tells how far members, copies and draws are apart; for the rest, see `infer`.

        Args:
          inputs: See `infer`.
          out: See `infer`.
          ensemble: See `infer`.
          tta: See `infer`.
          mc: See `infer`.
          overrides: See `infer`.

        Raises:
          AppError: If there is a single prediction, or the app cannot do it.
        """
        return self.call(
            Call(
                verb="uncertainty",
                inputs=as_groups(inputs),
                ensemble=_members(ensemble),
                tta=tta,
                mc=mc,
                overrides=overrides or {},
            ),
            out=out,
        )

    def pipeline(
        self,
        inputs: Files,
        references: Files | None = None,
        *,
        out: str | os.PathLike[str],
        masks: Files | None = None,
        with_uncertainty: bool = False,
        ensemble: int | Sequence[str] | None = None,
        tta: int = 0,
        mc: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> Result:
        """Predicts once, into `predictions/`; compares, into `evaluation/`, if there are
        references; and tells the uncertainty, into `uncertainty/`, if asked to.

        Args:
          inputs: See `infer`.
          references: See `evaluate`.
          out: See `infer`.
          masks: See `evaluate`.
          with_uncertainty: Whether the uncertainty is told.
          ensemble: See `infer`.
          tta: See `infer`.
          mc: See `infer`.
          overrides: See `infer`.

        Raises:
          AppError: If the app cannot do it; nothing was computed.
        """
        return self.call(
            Call(
                verb="pipeline",
                inputs=as_groups(inputs),
                references=as_groups(references),
                masks=as_groups(masks).get("", ()),
                with_uncertainty=with_uncertainty,
                ensemble=_members(ensemble),
                tta=tta,
                mc=mc,
                overrides=overrides or {},
            ),
            out=out,
        )

    def fine_tune(
        self,
        *,
        out: str | os.PathLike[str],
        steps: int,
        data: str | os.PathLike[str] | None = None,
        learning_rate: float | None = None,
        name: str | None = None,
        member: str | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Result:
        """Trains on from the weights of a member; the result is a new app.

        The optimizer and its schedules begin anew. The new app counts the updates of both
        trainings.

        Args:
          out: A new or empty folder, in which the new app is a folder of its name.
          steps: How many updates.
          data: Folder of the data; as in its config unless given.
          learning_rate: A constant one; that of the run unless given.
          name: Of the new app; that of this one unless given.
          member: Which member; the first unless given.
          overrides: See `infer`.

        Raises:
          AppError: If it cannot be trained; nothing was started.
        """
        return self.call(
            Call(
                verb="fine-tune",
                data=None if data is None else os.fspath(data),
                steps=steps,
                learning_rate=learning_rate,
                name=name,
                ensemble=None if member is None else (member,),
                overrides=overrides or {},
            ),
            out=out,
        )


def _members(ensemble: int | Sequence[str] | None) -> int | tuple[str, ...] | None:
    if ensemble is None or isinstance(ensemble, int):
        return ensemble
    return (ensemble,) if isinstance(ensemble, str) else tuple(ensemble)
