"""A page about an evaluation: one HTML file with tables and pictures, without network."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.evaluation import measures, one_case
from kauldron.volumes.evaluation.file_evaluation import Evaluation
from kauldron.volumes.evaluation.pairs import Pair
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.base import Image
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.pictures.views import views

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: #202124; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .2rem .5rem; text-align: right; border-bottom: 1px solid #dadce0;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { background: #f1f3f4; }
td.none { color: #80868b; }
figure { margin: 1.2rem 0; } img { max-width: 100%; image-rendering: pixelated; }
figcaption { color: #5f6368; }
.failed { color: #b3261e; white-space: pre-wrap; }
@media (prefers-color-scheme: dark) {
  body { color: #e8eaed; background: #202124; } thead th { background: #3c4043; }
  th, td { border-color: #3c4043; } figcaption, td.none { color: #9aa0a6; }
  .failed { color: #f2b8b5; } }
"""


def write_report(
    evaluation: Evaluation,
    path: str | os.PathLike[str],
    *,
    title: str = "Evaluation",
    max_pictures: int = 20,
) -> None:
    """Writes a page with the aggregates, the values of each case, and pictures.

    Args:
      evaluation: What `kd.volumes.evaluate` returned.
      path: The HTML file.
      title: Its heading.
      max_pictures: Of how many cases there are pictures, the worst ones first (by the first
        metric).
    """
    order = _worst_first(evaluation)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{len(evaluation.cases)} cases.</p>",
        "<h2>Over all cases</h2>",
        _aggregates(evaluation),
    ]
    if evaluation.failed:
        parts.append(f"<h2>Not measured ({len(evaluation.failed)})</h2>")
        for case, message in evaluation.failed.items():
            told = html.escape(f"{case}: {message}")
            parts.append(f'<p class="failed">{told}</p>')
    parts += ["<h2>Cases</h2>", _cases(evaluation, order)]
    shown = order[:max_pictures]
    if shown:
        parts += [f"<h2>Pictures ({len(shown)}, the worst first)</h2>", _LEGEND]
    parts += [_picture(evaluation, case) for case in shown]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    out = epath.Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    shared_files.write_atomically(out, page)


_LEGEND = (
    "<p>Left of the patient on the right. Of labels: the reference as outlines, the "
    "prediction as brighter ones, where they differ in red. Of intensities: the prediction, "
    "and in red how far it is from the reference.</p>"
)


def _worst_first(evaluation: Evaluation) -> list[str]:
    measure, direction = next(iter(evaluation.directions.items()))

    def badness(case: str) -> float:
        values = [x for x in evaluation.cases[case][measure].values() if np.isfinite(x)]
        if not values:
            return np.inf if measure not in ("psnr", "ssim") else -np.inf
        mean = float(np.mean(values))
        return -mean if direction == "max" else mean

    return sorted(evaluation.cases, key=badness, reverse=True)


def _aggregates(evaluation: Evaluation) -> str:
    head = ["metric", "better", "label", "mean", "std", "min", "25 %", "median", "75 %"]
    rows = []
    for row in evaluation.aggregates():
        names = ("mean", "std", "min", "25pc", "median", "75pc", "max")
        better = {"max": "larger", "min": "smaller"}[
            evaluation.directions[row["metric"]]
        ]
        rows.append(
            [
                row["metric"],
                better,
                "" if row["label"] is None else str(row["label"]),
                *(row[name] for name in names),
                str(row["count"]),
                str(row["num_undefined"]),
            ]
        )
    return _table([*head, "max", "cases", "undefined"], rows)


def _cases(evaluation: Evaluation, order: Sequence[str]) -> str:
    columns = [(m, x) for m in evaluation.directions for x in evaluation.labels_of(m)]
    rows = [
        [case, *(evaluation.cases[case][m].get(x, np.nan) for m, x in columns)]
        for case in order
    ]
    return _table(["case", *(f"{m} {x}".strip() for m, x in columns)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = "".join(f"<th>{html.escape(x)}</th>" for x in head)
    lines = ["".join(map(_cell, row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    if value is None or not np.isfinite(value):
        return '<td class="none">n/a</td>'
    return f"<td>{value:.4g}</td>"


def _picture(evaluation: Evaluation, case: str) -> str:
    (pair,) = [p for p in evaluation.pairs if p.case == case]
    of_regions = measures.is_of_regions(next(iter(evaluation.directions)))
    try:
        png = draw_pair(pair, of_regions=of_regions)
    except VolumeError as error:
        return f'<p class="failed">{html.escape(f"{case}: {error}")}</p>'
    text = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{html.escape(case)}" src="data:image/png;base64,{text}">'
        f"<figcaption>{html.escape(case)}</figcaption></figure>"
    )


def draw_pair(pair: Pair, *, of_regions: bool) -> bytes:
    """Returns a PNG of a prediction and its reference, through the worst place."""
    (slab,) = one_case.slabs(pair, is_whole=True)
    errors = one_case.error_map(pair, of_regions=of_regions).array[..., 0]
    heat = np.abs(errors.astype(np.float32))
    if not of_regions:
        shown = Image(slab.pred, slab.geometry)
        return views(shown, heat=heat)._repr_png_()
    pred, ref = one_case.as_labels(pair.pred, slab.pred), slab.ref
    ref = one_case.as_labels(pair.ref, ref)
    below = Image(np.zeros(ref.shape, np.uint8), slab.geometry)
    if pair.image is not None:
        image = volume_files.read(pair.image)
        below = image if image.shape == below.shape else below
    at = _worst_place(heat > 0)
    drawn = views(below, contours=[ref, pred], heat=heat > 0, heat_opacity=0.4, at=at)
    return drawn._repr_png_()


def _worst_place(is_wrong: np.ndarray) -> tuple[int, ...] | None:
    """Returns the planes with the most errors."""
    if not is_wrong.any():
        return None
    axes = (0, 1, 2)
    return tuple(
        int(is_wrong.sum(axis=tuple(i for i in axes if i != axis)).argmax())
        for axis in axes
    )
