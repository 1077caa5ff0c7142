"""What of a `CaseEvaluator` cannot work, told before anything is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax

from kauldron import kontext, metrics
from kauldron.modules.patches import tilings
from kauldron.step import key_checks
from kauldron.step.context import Context
from kauldron.volumes.cases import dataset
from kauldron.volumes.metrics.case_state import CaseMetric
from kauldron.volumes.patches import sliding_windows


def patch_specs(
    window: sliding_windows.SlidingWindow, batch: Any, context_slices: int = 0
) -> Any:
    """Returns the specs of a batch as if a case were one patch."""

    def patch(spec: Any) -> Any:
        if len(spec.shape) != 5:
            return spec
        size = window.size_for(spec.shape[1:4])
        channels = (1 + context_slices) * spec.shape[4]
        shape = (spec.shape[0], *size, channels)
        return jax.ShapeDtypeStruct(shape, spec.dtype)

    return jax.tree.map(patch, batch)


def blending_problems(
    window: sliding_windows.SlidingWindow,
    keys: Sequence[str],
    context: Context,
    field: str,
) -> list[kontext.KeyProblem]:
    """Returns which predictions that are read cannot be put together."""
    volumes = (x.shape for x in jax.tree.leaves(context.batch) if len(x.shape) == 5)
    shape = next(volumes)[1:4]
    problems = []
    for key in keys:
        try:
            specs = kontext.get_by_path({"preds": context.preds}, key)
            window.check_outputs(specs, shape)
        except tilings.PatchError as e:
            detail = f"{key!r}: {e} Or leave out the losses and metrics that read it."
            problems.append(key_checks.problem(field, detail))
        except LookupError:
            continue  # told as a key that does not exist
    return problems


def slab_problems(
    field: str, cases: dataset.VolumeCases, **groups: Any
) -> Iterator[kontext.KeyProblem]:
    """Yields what cannot be done slab by slab.

    Args:
      field: Name of the evaluator.
      cases: The dataset.
      **groups: Losses, metrics and summaries.
    """
    if cases.transforms:
        detail = (
            "`by_slabs` reads regions of cases, and `ds.transforms` change whole "
            "examples: make them transforms of the groups."
        )
        yield key_checks.problem(f"{field}.ds", detail)
    for group, tree in groups.items():
        for path, metric in jax.tree_util.tree_leaves_with_path(
            tree, is_leaf=lambda x: isinstance(x, metrics.Metric)
        ):
            if isinstance(metric, CaseMetric) and not metric.needs_whole_cases:
                continue
            detail = (
                f"{type(metric).__name__} needs whole cases, and `by_slabs` has none: "
                "leave it out, and measure the files with `kauldron volumes evaluate`. "
                "Dice and means over voxels of `kd.volumes.metrics` take slabs."
            )
            name = f"{field}.{group}{jax.tree_util.keystr(path)}"
            yield key_checks.problem(name, detail)
