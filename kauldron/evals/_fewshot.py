"""`FewShotEvaluator`: few-shot linear classification on a model's features."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import kontext, metrics, recording
from kauldron._base import console, errors, root_refs
from kauldron.evals import (
    _evaluator_checks,
    _ridge,
    base,
    evaluators,
    example_rows,
    rows_in_memory,
    write_outputs,
)
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, key_checks, text_keys
from kauldron.step.context import Context

_LABEL = "label"


class FewShotError(errors.UserError, ValueError):
    """Data or settings that allow no few-shot classifier."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FewShotEvaluator(base.EvaluatorBase):
    """Accuracy of linear classifiers that saw `k` examples of each class.

    The model gives features of all three datasets. For each `k`, `k` examples a class are
    drawn from `ds_train`, and ridge regression to the classes is solved in closed form
    on whitened features, in f64 on the host. The strength of the regulariser is the one
    that is best on `ds_val` (the first of equals); reported is the accuracy on `ds_test`.

    `metrics/<metric_prefix>-<k>shot` is that of `selected_repr`, averaged over the seeds;
    `z_fewshot_all/<metric_prefix>-<repr>-<k>shot` that of each representation. Draws of
    a seed are nested: the examples of `k` are among those of a larger `k`.

    Attributes:
      ds_train: Examples to draw from; all their features are kept in host memory.
      ds_val: Examples that choose the regulariser.
      ds_test: Examples that are reported.
      metric_prefix: Of the names of the results, such as 'cifar'.
      num_classes: Labels are in `[0, num_classes)`.
      num_shots: Examples per class; one classifier for each number.
      repr_names: Name -> path of features `f[n d]` in the context, such as
        `{"pre_logits": "interms.encoder.__call__[0]"}`.
      l2_regs: Strengths to choose from, > 0.
      label_name: Name of the labels in the batch, `i[n]` or `i[n 1]`.
      selected_repr: Which representation is reported as a metric.
      seed: Of the draws, or several; the trainer's unless given.
      model: The model; the trainer's unless given.
      model_method: Method to call; `__call__` unless given.

    Raises:
      FewShotError: For settings that cannot work; when it runs, if a class has fewer
        than `k` examples.

    Reference: Kolesnikov et al. 2020, Big Transfer (BiT), arXiv:1912.11370, for the
      protocol; Hoerl & Kennard 1970, Ridge Regression, for the estimator.
    """

    ds_train: Any
    ds_val: Any
    ds_test: Any
    metric_prefix: str
    num_classes: int
    num_shots: Sequence[int]
    repr_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    l2_regs: Sequence[float] = (64, 128, 256, 512, 1024)
    label_name: str
    selected_repr: str = "pre_logits"
    seed: int | Sequence[int] = root_refs.ROOT_CFG_REF.seed
    model: Any = root_refs.ROOT_CFG_REF.model
    model_method: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selected_repr not in self.repr_names:
            hint = errors.did_you_mean(self.selected_repr, self.repr_names)
            raise FewShotError(
                f"`repr_names` has no {self.selected_repr!r}, the `selected_repr`: got "
                f"{list(self.repr_names)}.{hint} It maps names to paths, such as "
                "`{'pre_logits': 'interms.encoder.__call__[0]'}`."
            )
        if _LABEL in self.repr_names:
            raise FewShotError(f"A representation cannot be called {_LABEL!r}.")
        if self.num_classes < 2:
            raise FewShotError(
                f"`num_classes` must be at least 2: got {self.num_classes}."
            )
        for field, smallest in (("num_shots", 1), ("l2_regs", 1e-12)):
            values = getattr(self, field)
            if not values or min(values) < smallest:
                raise FewShotError(
                    f"`{field}` needs positive numbers: got {list(values)}."
                )

    def evaluate(self, state: TrainState, step: int) -> auxiliaries.AuxiliariesState:
        self._assert_root_cfg_resolved()
        features = {
            name: self.compute_features(state, ds)
            for name, ds in self.datasets().items()
        }
        found = {
            (name, k): self._accuracy(features, name, k)
            for name in self.repr_names
            for k in self.num_shots
        }
        selected = {
            f"{self.metric_prefix}-{k}shot": found[self.selected_repr, k]
            for k in self.num_shots
        }
        if console.is_lead_host():
            scalars = {f"metrics/{name}": value for name, value in selected.items()}
            for (name, k), value in found.items():
                scalars[f"z_fewshot_all/{self.metric_prefix}-{name}-{k}shot"] = value
            self.writer.write(step, recording.Measured(scalars=scalars))
            self.writer.flush()
        states = {
            name: metrics.AverageState(total=np.asarray(value), count=np.asarray(1.0))
            for name, value in selected.items()
        }
        return auxiliaries.AuxiliariesState(metric_states=states)

    def datasets(self) -> dict[str, Any]:
        """Returns the datasets by the field that holds them."""
        return {name: getattr(self, name) for name in ("ds_train", "ds_val", "ds_test")}

    def check(
        self, run: base.Run, state: TrainState, *, field: str
    ) -> list[kontext.KeyProblem]:
        problems: list[kontext.KeyProblem] = []
        for name, ds in self.datasets().items():
            where = f"{field}.{name}"
            ds = ds.for_evaluation()
            found: list[kontext.KeyProblem] = []
            context = key_checks.initial_context(state, ds, field=where)
            after = _evaluator_checks.follow(
                self.forward._forward, context, found, state=state, field=where
            )
            if after is not None and not problems:
                found += self._check_features(after, prefix=field)
            problems += text_keys.tell_texts(found, ds)
        return problems

    def _check_features(
        self, context: Context, *, prefix: str
    ) -> list[kontext.KeyProblem]:
        fields = example_rows.fields_of(self.repr_names, f"{prefix}.repr_names")
        problems = example_rows.check(
            context, {**fields, f"{prefix}.label_name": self._keys[_LABEL]}
        )
        if not problems:
            for field, key in fields.items():
                shape = np.shape(kontext.get_by_path(context, key))
                if len(shape) != 2:
                    detail = f"features need the shape [n d]: got {shape}. Pool them."
                    problems.append(example_rows.failure(field, key, detail))
        return problems

    @property
    def _keys(self) -> dict[str, str]:
        name = self.label_name
        label = name if name.startswith("batch.") else f"batch.{name}"
        return {**self.repr_names, _LABEL: label}

    @functools.cached_property
    def forward(self) -> evaluators.Evaluator:
        """The evaluator that gives features and labels; it measures nothing."""
        return evaluators.Evaluator(
            name=self.name,
            run=self.run,
            writer=self.writer,
            base_cfg=self.base_cfg,
            ds=self.ds_train,
            losses={},
            metrics={},
            summaries={},
            model=self.model,
            model_method=self.model_method,
            discard_opt=self.discard_opt,
            checkify_error_categories=self.base_cfg.checkify_error_categories,
            outputs=write_outputs.WriteOutputs(keys=self._keys),
        )

    @property
    def aux(self) -> auxiliaries.Auxiliaries:
        """No losses, metrics and summaries: features are all that is computed."""
        return self.forward.aux

    @property
    def seeds(self) -> list[int]:
        """The seeds of the draws."""
        return np.atleast_1d(np.asarray(self.seed)).tolist()

    def compute_features(self, state: TrainState, ds: Any) -> dict[str, np.ndarray]:
        """Returns the features `f[n d]` of a whole dataset by name, and `label`, `i[n]`.

        Args:
          state: State of the model.
          ds: The dataset.

        Raises:
          FewShotError: If the labels are not class ids.
        """
        collected = rows_in_memory.InMemory()
        for _, rows in self.forward.iter_batches(state, ds=ds):
            collected.add(rows)
        columns = collected.all_columns()
        labels = columns[_LABEL]
        columns[_LABEL] = labels.reshape(len(labels), -1)
        if columns[_LABEL].shape[1] != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise FewShotError(
                f"Labels are integers of shape [n] or [n 1]: got {self._keys[_LABEL]!r} "
                f"of shape {labels.shape}, {labels.dtype}."
            )
        columns[_LABEL] = columns[_LABEL][:, 0]
        return columns

    def _accuracy(self, features: Mapping[str, Any], name: str, k: int) -> float:
        """Returns the test accuracy with the regulariser that is best on `ds_val`."""
        train, val, test = (
            (features[ds][name], features[ds][_LABEL]) for ds in self.datasets()
        )
        found = []
        for seed in self.seeds:
            drawn = self._draw(train[1], k, seed)
            on_val, on_test = _ridge.accuracies(
                (train[0][drawn], train[1][drawn]),
                (val, test),
                num_classes=self.num_classes,
                l2_regs=self.l2_regs,
            ).T
            found.append(on_test[on_val.argmax()])
        return float(np.mean(found))

    def _draw(self, labels: np.ndarray, k: int, seed: int) -> np.ndarray:
        """Returns the indices of `k` examples of each class."""
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise FewShotError(
                f"Labels must be in [0, {self.num_classes}): got {labels.min()} to "
                f"{labels.max()}. Is `num_classes` right?"
            )
        rng = np.random.default_rng(seed % 2**64)
        drawn = []
        for label in range(self.num_classes):
            members = np.flatnonzero(labels == label)
            if len(members) < k:
                raise FewShotError(
                    f"`ds_train` has {len(members)} examples of class {label}: too few "
                    f"for `num_shots` {k}."
                )
            drawn.append(rng.permutation(members)[:k])
        return np.concatenate(drawn)
