"""Which files a room has, and which tests are meant to notice a fault in them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room:
    """What is mutated, and what must notice.

    Attributes:
      files: Globs of the source files, relative to the project.
      tests: What pytest is given: test files or folders, relative to the project, or
        options.
      tests_of: Name of a source file to the tests that are meant to notice its faults,
        in place of `tests`.
    """

    files: tuple[str, ...]
    tests: tuple[str, ...]
    tests_of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def tests_for(self, source: pathlib.Path) -> tuple[str, ...]:
        """Returns the tests that are meant to notice a fault in a source file."""
        return self.tests_of.get(source.name, self.tests)

    def sources(self, root: pathlib.Path) -> list[pathlib.Path]:
        """Returns the source files, sorted, relative to `root`."""
        found = {f for glob in self.files for f in root.glob(glob)}
        return sorted(f.relative_to(root) for f in found if f.name != "__init__.py")


_CONTRACT = "tests/metrics/test_contract.py"
_EDGES = "tests/metrics/test_edges.py"
_OPTIONS = "tests/metrics/test_options.py"
_MEMBERS = "tests/metrics/test_members.py"
_STATES = "tests/metrics/test_states.py"
_NETWORKS = ("tests/metrics/test_networks.py",)
_SLICES = (
    "tests/metrics/test_slices_and_intervals.py",
    "tests/metrics/test_context_keys.py",
)
_TEXTS = ("tests/metrics/test_texts.py",)


def _named(names: str) -> tuple[str, ...]:
    """Returns the tests of single metrics whose names match."""
    return (_OPTIONS, _MEMBERS, _EDGES, _CONTRACT, "-k", names)


_TESTS_OF_METRICS = {
    "_bootstrap.py": _SLICES,
    "_calibration.py": _named("calibration or confidence"),
    "_classification.py": _named("accuracy or Precision1 or label_is or equal_scores"),
    "_clustering.py": _named("agreement or Ari"),
    "_confusion.py": _named(
        "ignored or occur or rows_with_nan or pixels or averaged or fewer_classes or "
        "ConfusionMatrix or (Precision and not Precision1) or Recall or F1 or MeanIou"
    ),
    "_features.py": ("tests/metrics/test_features.py", *_named("features or Frechet")),
    "_images.py": _named("images or structural or Psnr or Ssim"),
    "_inception.py": _NETWORKS,
    "_language.py": _named("bytes or Perplexity or BitsPerByte"),
    "_metric.py": (_STATES, "tests/metrics/test_context_keys.py"),
    "_norm.py": _named("norm"),
    "_perceptual.py": _NETWORKS,
    "_ranking.py": _named(
        "roc or areas or ranking_metrics or infinite or one_score or PrAuc or "
        "precision_without"
    ),
    "_regression.py": _named(
        "spread or entry or constant_targets or fit_are_refused or MeanAbsolute or "
        "MeanSquared or R2Score or Explained or Std or SingleDimension"
    ),
    "_slicing.py": _SLICES,
    "_text_scores.py": _TEXTS,
    "_text_words.py": _TEXTS,
    "_texts.py": _TEXTS,
    "_throughput.py": ("tests/metrics/test_throughput.py",),
    "_vgg.py": _NETWORKS,
    "_weights.py": _NETWORKS,
    "arrays.py": (_STATES, _MEMBERS),
    "auto_state.py": ("tests/metrics/test_auto_state.py",),
    "base.py": ("tests/metrics/test_wrappers.py", "tests/metrics/test_context_keys.py"),
    "base_state.py": (_STATES, "tests/metrics/test_wrappers.py"),
    "class_ids.py": ("tests/metrics/test_labels.py",),
    "exact_sums.py": (
        *("tests/metrics/test_auto_state.py", _EDGES),
        *("-k", "auto_state or single_precision"),
    ),
    "image.py": _named("images or structural or Psnr or Ssim"),
    "networks.py": _NETWORKS,
    "predicted_classes.py": (
        *("tests/metrics/test_labels.py", *_named("labels or accuracy or fit_are")),
    ),
}

# Parts of rooms that are worth a run of their own, and rooms whose tests are narrowed to
# those that are meant to notice: a fault costs one run of them. Files are found by their
# names, wherever they lie. Any folder of `kauldron/` that has a folder of the same name
# in `tests/` is a room, too.
ROOMS = {
    "checksums": Room(
        files=("kauldron/**/_checksums.py",),
        tests=("tests/checkpoints/test_checksums.py",),
    ),
    "coercion": Room(
        files=("kauldron/konfig/**/_coercion.py", "kauldron/konfig/**/_literals.py"),
        tests=(
            "tests/konfig/test_coercion.py",
            "tests/konfig/test_overrides.py",
            "tests/konfig/test_newcomers.py",
        ),
    ),
    "globs": Room(
        files=("kauldron/konfig/**/_globs.py", "kauldron/kontext/**/_glob.py"),
        tests=(
            "tests/konfig/test_overrides.py",
            "tests/konfig/test_hints.py",
            "tests/kontext/test_access.py",
            "tests/kontext/test_config_dict.py",
        ),
    ),
    "loss_scale": Room(
        files=("kauldron/**/_loss_scale.py",),
        tests=("tests/train/test_loss_scale.py",),
    ),
    "losses": Room(
        files=("kauldron/losses/**/*.py",),
        tests=(
            "tests/losses/test_losses.py",
            "tests/losses/test_parameters.py",
            "tests/losses/test_masking.py",
            "tests/losses/test_weights.py",
            "tests/losses/test_labels.py",
            "tests/losses/test_infinities.py",
        ),
    ),
    "masking": Room(
        files=("kauldron/losses/**/_masking.py",),
        tests=("tests/losses/test_masking.py", "tests/losses/test_weights.py"),
    ),
    "merging": Room(
        files=("kauldron/evals/**/_merging.py", "kauldron/evals/**/rows_in_memory.py"),
        tests=("tests/evals/test_merging.py",),
    ),
    "metrics": Room(
        files=("kauldron/metrics/**/*.py",),
        tests=("tests/metrics",),
        tests_of=_TESTS_OF_METRICS,
    ),
    "optim": Room(
        files=("kauldron/optim/**/*.py",),
        tests=(
            "tests/optim/test_schedules.py",
            "tests/optim/test_paths.py",
            "tests/optim/test_optim.py",
            "tests/optim/test_learning_rates.py",
        ),
    ),
    "retention": Room(
        files=(
            "kauldron/checkpoints/**/_retention.py",
            "kauldron/workdir/ranking.py",
            "kauldron/checkpoints/**/_step_choice.py",
        ),
        tests=(
            "tests/checkpoints/test_retention.py",
            "tests/checkpoints/test_looking.py",
            "tests/checkpoints/test_choosing.py",
            "tests/checkpoints/test_added_metrics.py",
        ),
    ),
    "rngs": Room(
        files=("kauldron/random/**/*.py", "kauldron/**/rngs_lib.py"),
        tests=("tests/random", "tests/train/test_rngs.py"),
    ),
    "transforms": Room(
        files=("kauldron/data/transforms/**/*.py",),
        tests=(
            "tests/data/test_transforms.py",
            "tests/data/test_random_transforms.py",
            "tests/data/test_transforms_and_dtypes.py",
            "tests/data/test_boundaries.py",
        ),
    ),
}


def find(name: str, root: pathlib.Path) -> Room:
    """Returns a room by name.

    Raises:
      SystemExit: If there is none; names those that there are.
    """
    if name in ROOMS:
        return ROOMS[name]
    folders = {
        f.name
        for f in (root / "kauldron").iterdir()
        if (f / "__init__.py").is_file() and (root / "tests" / f.name).is_dir()
    }
    if name not in folders:
        known = ", ".join(sorted({*ROOMS, *folders}))
        raise SystemExit(f"There is no room {name!r} with tests. Rooms: {known}.")
    return Room(files=(f"kauldron/{name}/**/*.py",), tests=(f"tests/{name}",))
