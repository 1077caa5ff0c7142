"""What a model predicts of arrays, as files: tables of classes, arrays, images."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kauldron.apps.bundles.ports import Port
from kauldron.apps.verbs import _values
from kauldron.evals import file_prediction as files_lib


def combined(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of what members predict `[b ...]`; exact for a single one."""
    if len(members) == 1:
        return members[0]
    mean = np.mean(np.stack(members).astype(np.float64), axis=0)
    kind = members[0].dtype
    return mean.astype(kind if kind.kind in "fc" else np.float32)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, in f64."""
    shifted = logits.astype(np.float64)
    exps = np.exp(shifted - shifted.max(-1, keepdims=True))
    return exps / exps.sum(-1, keepdims=True)


class Tables:
    """Rows, one per case, that become a file at the end.

    Args:
      ports: The outputs.
      numbers: Names of those that are numbers; others are scores of classes.
    """

    def __init__(self, ports: Sequence[Port], numbers: Collection[str] = ()) -> None:
        self._numbers = numbers
        self._ports = {port.name: port for port in ports if port.kind == "table"}
        self._rows: dict[str, list[list[str]]] = {name: [] for name in self._ports}
        self._columns: dict[str, list[str]] = {}

    def add(self, name: str, case: str, scores: np.ndarray) -> dict[str, Any]:
        """Adds a case with its scores `[classes]`; returns its class in a few words."""
        if name in self._numbers:
            return self._add_numbers(name, case, {"value": scores})
        probs, names = probabilities(scores), _names(self._ports[name], scores)
        best = int(np.argmax(probs))
        self._columns[name] = ["case", "label", "probability", *names]
        numbers = [_text(x) for x in (probs[best], *probs)]
        self._rows[name].append([case, names[best], *numbers])
        return {"label": names[best], "probability": _values.plain_number(probs[best])}

    def add_doubt(
        self, name: str, case: str, members: Sequence[np.ndarray]
    ) -> dict[str, Any]:
        """Adds a case with the scores of members; returns how far they are apart."""
        if name in self._numbers:
            values = np.stack(members).astype(np.float64)
            doubt = {"mean": values.mean(0), "variance": values.var(0)}
            return self._add_numbers(name, case, doubt)
        probs = np.stack([probabilities(scores) for scores in members])
        mean = probs.mean(0)
        logs = np.log(np.maximum(mean, np.finfo(np.float64).tiny))
        votes = np.bincount(probs.argmax(-1), minlength=mean.shape[-1])
        doubt = {
            "entropy": _values.plain_number(-(mean * logs).sum()),
            "variance": _values.plain_number(probs.var(0).mean()),
            "disagreement": _values.plain_number(1 - votes.max() / len(members)),
        }
        names = _names(self._ports[name], mean)
        self._columns[name] = ["case", "label", *doubt]
        self._rows[name].append(
            [case, names[int(mean.argmax())], *map(_text, doubt.values())]
        )
        return doubt

    def _add_numbers(
        self, name: str, case: str, values: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        columns, row, told = ["case"], [case], {}
        for column, array in values.items():
            flat = array.ravel()
            is_one = len(flat) == 1
            columns += [column if is_one else f"{column}_{i}" for i in range(len(flat))]
            row += map(_text, flat)
            numbers = [_values.plain_number(x) for x in flat]
            told[column] = numbers[0] if is_one else numbers
        self._columns[name] = columns
        self._rows[name].append(row)
        return told

    def files(self, folder: pathlib.Path) -> list[files_lib.WrittenFile]:
        """Returns a `<output>.csv` for each."""
        written = []
        for name, rows in self._rows.items():
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerows([self._columns.get(name, ["case"]), *rows])
            written.append(
                files_lib.WrittenFile(
                    path=folder / f"{name}.csv",
                    output=name,
                    kind="table",
                    content=text.getvalue().encode(),
                )
            )
        return written


def array_file(
    folder: pathlib.Path, name: str, case: str, array: np.ndarray
) -> files_lib.WrittenFile:
    """Returns `<output>/<case>.npy`."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return files_lib.WrittenFile(
        path=folder / name / f"{case}.npy",
        output=name,
        kind="array",
        content=content.getvalue(),
    )


def _names(port: Port, scores: np.ndarray) -> list[str]:
    labels = port.labels
    return [labels[i].name if i in labels else str(i) for i in range(scores.shape[-1])]


def _text(value: Any) -> str:
    return f"{float(value):.7g}"
