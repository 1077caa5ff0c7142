"""`ArrayPredictor`: images and arrays in, classes and arrays out, by any forward pass."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from kauldron import data, runs
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.verbs import _array_outputs, _elements, _rows
from kauldron.evals import file_prediction as files_lib

# Member, draw of dropout (`None` is without), batch -> name of an output -> `[b ...]`.
Forward: TypeAlias = Callable[[Any, int | None, Mapping[str, Any]], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArrayPredictor:
    """Predicts cases in batches; sizes of batches are powers of two, to compile little.

    Attributes:
      manifest: Says what inputs and outputs are.
      transforms: From elements to batches; `None` if nothing has to be done.
      batch_size: At most so many cases at once.
      num_channels: Name of an image -> how many channels the model takes.
      forward: The model.
      make_metrics: Returns name -> metric; it may import much.
      columns: What is read of a table, if its rows are the cases.
    """

    manifest: Manifest
    transforms: Any
    batch_size: int
    num_channels: Mapping[str, int | None]
    forward: Forward
    make_metrics: Callable[[], Mapping[str, Any]]
    columns: _rows.Columns | None = None

    def predict_files(
        self, states: Sequence[Any], request: files_lib.FileRequest
    ) -> Iterator[files_lib.FileResult]:
        """Yields what becomes of each case, and then of all together."""
        numbers = self.columns.numbers if self.columns is not None else ()
        tables, doubts = (
            _array_outputs.Tables(self.manifest.outputs, numbers) for _ in range(2)
        )
        measured: dict[str, Any] = {}
        for number, (batch, num_rows) in enumerate(self._batches(request)):
            members = self._members(states, request.dropouts, batch, number)
            if request.measures:
                self._measure(measured, batch, members, num_rows)
            for row in range(num_rows):
                case = str(batch[_elements.CASE_KEY][row])
                of_case = [{k: x[row] for k, x in m.items()} for m in members]
                files: list[files_lib.WrittenFile] = []
                values: dict[str, Any] = {}
                if request.predictions is not None:
                    self._write(request, tables, case, of_case, files, values)
                if request.doubts is not None:
                    self._doubt(request, doubts, case, of_case, files, values)
                yield files_lib.FileResult(case=case, files=files, values=values)
        ends: list[files_lib.WrittenFile] = []
        for folder, rows in ((request.predictions, tables), (request.doubts, doubts)):
            if folder is not None:
                ends += rows.files(folder)
        finals = {k: x.finalize().compute() for k, x in measured.items()}
        yield files_lib.FileResult(case=None, files=ends, values=finals)

    def _transforms_for(self, elements: _elements.CaseElements) -> list[Any]:
        """Returns the transforms of elements with some keys; found once."""
        keys = frozenset(elements.keys())
        if keys not in self._fitting:
            # Left out are those of references that are not there.
            fitting = runs.fitting_transforms(self.transforms or (), elements[0])
            self._fitting[keys] = fitting.transforms
        return self._fitting[keys]

    @functools.cached_property
    def _fitting(self) -> dict[frozenset[str], list[Any]]:
        return {}

    @functools.cached_property
    def _metrics(self) -> Mapping[str, Any]:
        return self.make_metrics()

    def _batches(
        self, request: files_lib.FileRequest
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """Yields batches, filled up with rows that do not count, and their rows."""
        try:
            for batch in self._loaded(request):
                num_rows = len(batch[_elements.CASE_KEY])
                size = min(self.batch_size, 1 << (num_rows - 1).bit_length())
                yield _filled(batch, size) if size > num_rows else batch, num_rows
        except AppError as e:  # of a file; where in the pipeline is of no interest
            raise AppError(str(e)) from e

    def _loaded(self, request: files_lib.FileRequest) -> Iterator[Any]:
        """Yields batches; what makes that of a single case is kept for the next one."""
        if self.columns is not None:
            yield from self._loaded_rows(self.columns, request)
            return
        ports = (*self.manifest.inputs, *self.manifest.references)
        elements = _elements.CaseElements(
            request.cases, ports, self.num_channels, request.contents
        )
        if len(elements) == 1:
            keys = frozenset(elements.keys())
            if keys not in self._of_one_case:
                pipeline = self._pipeline([None], self._transforms_for(elements))
                self._of_one_case[keys] = pipeline.parts()
            parts = self._of_one_case[keys]
            if parts.keeps_rows:
                yield parts.batch_of(elements[0])
                return
        left = dict.fromkeys(request.cases)
        with iter(self._pipeline(elements, self._transforms_for(elements))) as batches:
            for batch in batches:
                for case in batch[_elements.CASE_KEY]:
                    left.pop(str(case), None)
                yield batch
        if left:
            raise AppError(
                f"The transforms of the app leave out {' and '.join(map(repr, left))}: "
                "there is no prediction without an input. Ask without them."
            )

    @functools.cached_property
    def _of_one_case(self) -> dict[frozenset[str], Any]:
        return {}

    def _loaded_rows(
        self, columns: _rows.Columns, request: files_lib.FileRequest
    ) -> Iterator[Any]:
        for files in request.cases.values():
            table, names = _rows.read(files[_rows.NAME], columns)
            first = {name: column[0] for name, column in table.items()}
            fitting = runs.fitting_transforms(self.transforms or (), first)
            if request.measures:
                _rows.check_references(columns, fitting.element, table)
            pipeline = self._pipeline(table, fitting.transforms)
            num_seen = 0
            with iter(pipeline) as batches:
                for batch in batches:
                    num_rows = len(next(iter(jax.tree.leaves(batch))))
                    names_here = names[num_seen : num_seen + num_rows]
                    yield {**batch, _elements.CASE_KEY: names_here}
                    num_seen += num_rows
            if num_seen != len(names):
                raise AppError(
                    f"The transforms of the app left out {len(names) - num_seen} rows: "
                    "it is not known which."
                )

    def _pipeline(self, elements: Any, transforms: Sequence[Any]) -> Any:
        return data.py.DataSource(
            elements,
            transforms=transforms,
            batch_size=self.batch_size,
            batch_drop_remainder=False,
            num_epochs=1,
            shuffle=False,
            seed=0,
        )

    def _members(
        self, states: Sequence[Any], dropouts: int, batch: Any, number: int
    ) -> list[dict[str, np.ndarray]]:
        """Returns what each member predicts: each state, with each draw."""
        size = len(batch[_elements.CASE_KEY])
        draws: Sequence[int | None] = (
            [number * dropouts + i for i in range(dropouts)] if dropouts else [None]
        )
        found = []
        for draw, state in itertools.product(draws, states):
            preds = self.forward(state, draw, batch)
            found.append({name: np.asarray(x) for name, x in preds.items()})
        for name, x in found[0].items():
            if x.ndim == 0 or len(x) != size:
                raise AppError(
                    f"The output {name!r} has the shape {x.shape} for {size} cases: an "
                    "app needs a prediction for each."
                )
        return found

    def _measure(
        self,
        measured: dict[str, Any],
        batch: Mapping[str, Any],
        members: Sequence[Mapping[str, np.ndarray]],
        num_rows: int,
    ) -> None:
        preds = {
            name: _array_outputs.combined([m[name] for m in members])[:num_rows]
            for name in members[0]
        }
        context = types.SimpleNamespace(
            batch=_first_rows(batch, num_rows), preds=_nested(preds)
        )
        for name, metric in self._metrics.items():
            state = metric.get_state_from_context(context)
            before = measured.get(name)
            measured[name] = state if before is None else before.merge(state)

    def _write(
        self,
        request: files_lib.FileRequest,
        tables: _array_outputs.Tables,
        case: str,
        members: Sequence[Mapping[str, np.ndarray]],
        files: list[files_lib.WrittenFile],
        values: dict[str, Any],
    ) -> None:
        assert request.predictions is not None
        for port in self.manifest.outputs:
            array = _array_outputs.combined([m[port.name] for m in members])
            if port.kind == "table":
                values[port.name] = tables.add(port.name, case, array)
            else:
                files.append(
                    _array_outputs.array_file(
                        request.predictions, port.name, case, array
                    )
                )

    def _doubt(
        self,
        request: files_lib.FileRequest,
        tables: _array_outputs.Tables,
        case: str,
        members: Sequence[Mapping[str, np.ndarray]],
        files: list[files_lib.WrittenFile],
        values: dict[str, Any],
    ) -> None:
        assert request.doubts is not None
        for port in self.manifest.outputs:
            arrays = [m[port.name] for m in members]
            name = f"{port.name}_uncertainty"
            if port.kind == "table":
                values[name] = tables.add_doubt(port.name, case, arrays)
            else:
                spread = np.var(np.stack(arrays).astype(np.float64), axis=0)
                values[name] = {"variance": float(f"{spread.mean():.7g}")}
                file = _array_outputs.array_file(
                    request.doubts, port.name, case, spread.astype(np.float32)
                )
                files.append(file)


def _filled(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    return {key: _to_size(value, size) for key, value in batch.items()}


def _to_size(value: Any, size: int) -> Any:
    if isinstance(value, Mapping):
        return _filled(value, size)
    array = np.asarray(value)
    return array[np.minimum(np.arange(size), len(array) - 1)] if array.ndim else array


def _first_rows(batch: Mapping[str, Any], num_rows: int) -> dict[str, Any]:
    return {
        key: _first_rows(x, num_rows) if isinstance(x, Mapping) else x[:num_rows]
        for key, x in batch.items()
        if key != _elements.CASE_KEY
    }


def _nested(preds: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `{"a": {"b": x}}` for `{"a.b": x}`."""
    found: dict[str, Any] = {}
    for name, value in preds.items():
        *parents, last = name.split(".")
        inside = functools.reduce(lambda d, k: d.setdefault(k, {}), parents, found)
        inside[last] = value
    return found
