"""From the directory of an app to what predicts files, and its members."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from kauldron import konfig
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.verbs import _configs, _layout, _rows
from kauldron.evals import file_prediction as files_lib


class Predictor(Protocol):
    """What predicts the files of an app."""

    def predict_files(
        self, states: Sequence[Any], request: files_lib.FileRequest
    ) -> Iterator[files_lib.FileResult]: ...


class Opened:
    """An app that is ready to predict; members are loaded when they are needed.

    Args:
      folder: Of the app.
      manifest: What it says.
      overrides: Path in the config -> value.
      trusted: Packages that its configs may name besides those known.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        manifest: Manifest,
        overrides: Mapping[str, Any],
        trusted: Sequence[str],
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._read = functools.partial(
            _configs.read, overrides=overrides, trusted=trusted
        )
        self._trusted = trusted
        self._loaded: dict[str, Any] = {}

    def predict(
        self, members: Sequence[str], request: files_lib.FileRequest
    ) -> Iterator[files_lib.FileResult]:
        """Yields what becomes of each case, and then of all together."""
        has_masks = any(files_lib.MASK in files for files in request.cases.values())
        predictor = self._predictor
        if (request.measures or has_masks) and self._manifest.has_file(
            _layout.PREDICTS
        ):
            predictor = self._measuring
        return predictor.predict_files([self._state(m) for m in members], request)

    @functools.cached_property
    def _predictor(self) -> Predictor:
        if self._manifest.has_file(_layout.PREDICTS):
            (evaluator,) = self._trainer.evals.values()
            return evaluator
        from kauldron.apps.verbs import _array_predictor, _programs

        inputs = self._read(self._folder / _layout.INPUTS)
        return _array_predictor.ArrayPredictor(
            manifest=self._manifest,
            transforms=konfig.resolve(inputs.transforms),
            batch_size=inputs.batch_size,
            num_channels=dict(inputs.num_channels),
            forward=_programs.ProgramForward(self._folder, self._manifest.members),
            make_metrics=self._make_metrics,
            columns=self._columns(inputs),
        )

    @functools.cached_property
    def _measuring(self) -> Predictor:
        """The evaluator with its measures of other packages, if it has any."""
        if not self._manifest.has_file(_layout.METRICS):
            return self._predictor
        cfg = self._read(self._folder / _layout.PREDICTS)
        (node,) = cfg.evals.values()
        path = self._folder / _layout.METRICS
        for field, group in konfig.load(path, trusted=self._trusted).items():
            node[field] = {**node[field], **group}
        (evaluator,) = konfig.resolve(cfg).evals.values()
        return evaluator

    def _columns(self, inputs: Any) -> _rows.Columns | None:
        if "columns" not in inputs:
            return None
        return _rows.Columns.from_json(json.loads(inputs.columns.to_json()))

    def _make_metrics(self) -> Mapping[str, Any]:
        if not self._manifest.has_file(_layout.METRICS):
            return {}
        path = self._folder / _layout.METRICS
        return konfig.resolve(konfig.load(path, trusted=self._trusted)).metrics

    def _state(self, member: str) -> Any:
        """Returns a member as the predictor takes it: its name, or its state."""
        if not self._manifest.has_file(_layout.PREDICTS):
            return member
        if member not in self._loaded:
            from kauldron import export

            path = self._folder / _layout.member_file(member)
            self._loaded[member] = export.load_weights(path, self._specs)
        return self._loaded[member]

    @functools.cached_property
    def _specs(self) -> Any:
        import jax

        init = functools.partial(
            self._trainer.init_state,
            skip_transforms=True,
            skip_optimizer=True,
            element_spec=self._element_spec,
        )
        return jax.eval_shape(init)

    @property
    def _element_spec(self) -> Any:
        from kauldron.workdir import workdirs

        return workdirs.get_element_spec(self._folder)

    @functools.cached_property
    def _trainer(self) -> Any:
        """The run without its training, with the evaluator that predicts."""
        return konfig.resolve(self._read(self._folder / _layout.PREDICTS))
