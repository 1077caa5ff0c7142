"""Files of predictions and of references, paired by the name of the case."""

from __future__ import annotations

import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterator

from kauldron.volumes.files import volume_files
from kauldron.volumes.files.base import Info
from kauldron.volumes.files.formats import format_of
from kauldron.volumes.geometry.errors import VolumeError

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of a case.

    Attributes:
      case: Its name.
      pred: What was predicted.
      ref: What it is compared to.
      mask: The voxels that count, if not all do.
      image: What is shown below, in a report.
    """

    case: str
    pred: pathlib.Path
    ref: pathlib.Path
    mask: pathlib.Path | None = None
    image: pathlib.Path | None = None

    @property
    def compared(self) -> list[pathlib.Path]:
        """The files that must be of one grid."""
        return [self.pred, self.ref, *([self.mask] if self.mask else [])]


def find(where: Path) -> dict[str, pathlib.Path]:
    """Returns case -> file.

    Args:
      where: A folder, whose volumes are the cases, also those in folders inside of it
        (`site/case`); or a pattern with one `*`, which stands
        for the name of the case, such as `data/*/seg.nii.gz`.

    Raises:
      VolumeError: If there are none, or two of one name.
    """
    pattern = os.fspath(where)
    if "*" not in pattern:
        if not os.path.isdir(pattern):
            raise VolumeError(
                f"There is no folder {pattern!r}. Name a folder of volumes, or a pattern "
                "with a * for the name of the case, such as 'data/*/seg.nii.gz'."
            )
        root = pathlib.Path(pattern)
        named = [
            ((p.parent.relative_to(root) / _stem(p)).as_posix(), p) for p in _walk(root)
        ]
    else:
        before, _, after = pattern.partition("*")
        paths = [pathlib.Path(p) for p in sorted(glob.glob(pattern))]
        ends = len(os.path.normpath(before + "x")) - 1, len(after)
        named = [(str(p)[ends[0] : len(str(p)) - ends[1]], p) for p in paths]
        if not after.strip("."):
            named = [(_stem(p), p) for p in paths]
    found: dict[str, pathlib.Path] = {}
    for name, path in named:
        if name in found:
            raise VolumeError(
                f"The case {name!r} is there twice: {found[name]}, {path}."
            )
        found[name] = path
    if not found:
        raise VolumeError(f"There are no volumes at {pattern!r}.")
    return found


def pair(
    preds: Path,
    refs: Path,
    *,
    masks: Path | None = None,
    images: Path | None = None,
    allow_missing: bool = False,
) -> list[Pair]:
    """Returns the cases, after looking for what is missing.

    Args:
      preds: Predictions, see `find`.
      refs: References.
      masks: Which voxels count.
      images: What is shown below, in a report; may be missing.
      allow_missing: Whether references without a prediction are left out.

    Raises:
      VolumeError: If files are missing; names all of them.
    """
    found = find(preds)
    wanted = find(refs)
    inside = None if masks is None else find(masks)
    shown = {} if images is None else find(images)
    problems = [f"{c}: no reference in {refs}" for c in found if c not in wanted]
    if not allow_missing:
        problems += [f"{c}: no prediction in {preds}" for c in wanted if c not in found]
    cases = [c for c in found if c in wanted]
    if inside is not None:
        problems += [f"{c}: no mask in {masks}" for c in cases if c not in inside]
    if problems:
        hints = [
            "Where a case has several files, a pattern names one of them, with a * for the "
            f"case, such as {_example(refs, wanted)!r}."
        ]
        if any("no prediction" in p for p in problems):
            hints.append(
                "To leave out references without a prediction, set `allow_missing=True` "
                "or `--allow_missing`."
            )
        raise VolumeError(_listed("Files are missing", problems) + "\n".join(hints))
    return [
        Pair(
            case=c,
            pred=found[c],
            ref=wanted[c],
            mask=None if inside is None else inside[c],
            image=shown.get(c),
        )
        for c in cases
    ]


def _example(where: Path, found: dict[str, pathlib.Path]) -> str:
    """Returns a pattern for files in folders of cases; one that fits, if there are any."""
    if "*" not in os.fspath(where):
        names = [p.name for name, p in found.items() if "/" in name]
        labels = [name for name in names if "seg" in name or "label" in name]
        if names:
            return os.path.join(where, "*", (labels or names)[0])
    return "data/*/seg.nii.gz"


def check_grids(pairs: list[Pair]) -> None:
    """Raises unless the files of each case are of one grid; those unreadable are skipped.

    Raises:
      VolumeError: If they are not; names all of them.
    """
    problems = []
    for pair_ in pairs:
        try:
            ref = volume_files.info(pair_.ref)
            others = [
                (p, volume_files.info(p)) for p in pair_.compared if p != pair_.ref
            ]
        except VolumeError:
            continue  # told when its turn comes, and the others are evaluated
        for path, info in others:
            if reason := _mismatch(info, ref):
                problems.append(f"{pair_.case}: {path} {reason} ({pair_.ref})")
    if problems:
        raise VolumeError(
            _listed("Files of a case must be of one grid", problems)
            + "Resample them first."
        )


def _mismatch(info: Info, ref: Info) -> str:
    if info.shape != ref.shape:
        return f"has the shape {info.shape} and not {ref.shape}"
    if info.geometry.is_close(ref.geometry, atol_mm=0.01):
        return ""
    ours, theirs = info.geometry, ref.geometry
    return (
        f"lies elsewhere: spacing {ours.spacing_mm.round(4).tolist()} mm and origin "
        f"{ours.origin.round(3).tolist()} mm, and not {theirs.spacing_mm.round(4).tolist()} "
        f"and {theirs.origin.round(3).tolist()}"
    )


def _listed(what: str, problems: list[str]) -> str:
    return "\n  ".join([f"{what} ({len(problems)}):", *problems]) + "\n"


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the volumes in a folder; a series of DICOM or an OME-Zarr is one."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if _has_suffix(path) or (path.is_dir() and _is_series(path)):
            yield path
        elif path.is_dir():
            yield from _walk(path)


def _has_suffix(path: pathlib.Path) -> bool:
    try:
        suffixes = format_of(path).suffixes
    except VolumeError:
        return False
    return path.name.lower().endswith(suffixes)


def _is_series(path: pathlib.Path) -> bool:
    try:
        volume_files.info(path)
    except VolumeError:
        return False
    return True


def _stem(path: pathlib.Path) -> str:
    name = path.name
    for suffix in format_of(path).suffixes:
        if suffix and name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
