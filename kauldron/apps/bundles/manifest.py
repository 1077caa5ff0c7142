"""`Manifest`: what an app says about itself in its `app.json`; read without JAX."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any

from kauldron._base import errors
from kauldron.apps.bundles._json_fields import Fields
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.ports import Port

FILE = "app.json"
FORMAT = "kauldron.app"
VERSION = 1

VERBS = ("infer", "evaluate", "uncertainty", "pipeline", "fine-tune")

_MAX_MANIFEST_BYTES = 2**24
_MEMBERS = "members"
_ZIP_START = b"PK\x03\x04"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Size and SHA-256 of a file of an app."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an app is, needs and can do.

    Attributes:
      name: Letters, digits, `_`, `-` and `.`; also its name on a server.
      version: Of the app, such as `1.0.0`.
      description: A few sentences.
      licence: Of the weights, such as `CC-BY-4.0`.
      task: In two or three words, such as `brain segmentation`.
      inputs: What it takes.
      references: What an evaluation compares with.
      outputs: What it gives.
      takes_masks: Whether an evaluation can be restricted to masks.
      members: Names of its checkpoints; several are an ensemble.
      max_tta: Up to how many augmented copies it also predicts.
      max_mc: Up to how many draws of dropout it also predicts.
      allowed_overrides: Globs of paths in its config that a call may set, without
        `cfg.`: `evals.eval.window.overlap`.
      data_paths: Where in its config the folder of a fine-tuning's data goes.
      verbs: What it can do, of `VERBS`.
      trusted: Packages outside of Kauldron's that its config names; a call has to
        trust its code if there are any.
      trusted_to_evaluate: The same for what it is measured by.
      trusted_to_train: The same for its fine-tuning.
      step: Updates that its weights have seen.
      evaluator: Name of the evaluator of the run that it is made of; may be empty.
      files: Path in the app, with `/` -> size and checksum. No other file is read.
      format_version: Of this description.
    """

    name: str
    version: str = "1.0.0"
    description: str = ""
    licence: str = ""
    task: str = ""
    inputs: tuple[Port, ...]
    references: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    takes_masks: bool = False
    members: tuple[str, ...] = ()
    max_tta: int = 0
    max_mc: int = 0
    allowed_overrides: tuple[str, ...] = ()
    data_paths: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ("infer",)
    trusted: tuple[str, ...] = ()
    trusted_to_evaluate: tuple[str, ...] = ()
    trusted_to_train: tuple[str, ...] = ()
    step: int = 0
    evaluator: str = ""
    files: Mapping[str, FileEntry] = dataclasses.field(default_factory=dict)
    format_version: int = VERSION

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.inputs:
            raise AppError(f"The app {self.name!r} has no inputs: it needs one.")
        for kind in ("inputs", "references", "outputs"):
            names = [port.name for port in getattr(self, kind)]
            if len(names) > len(set(names)):
                raise AppError(f"Two {kind} of {self.name!r} have one name: {names}.")
        for member in self.members:  # they are names of files, too
            check_name(member, "members")
        for path in self.files:
            _check_relative(path)

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold; equal manifests give equal text."""
        entry = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("inputs", "references", "outputs"):
            entry[name] = [port.to_json() for port in entry[name]]
        entry["files"] = {k: dataclasses.asdict(x) for k, x in self.files.items()}
        return {"format": FORMAT, **json.loads(json.dumps(entry))}

    @classmethod
    def from_json(cls, entry: object, where: str = FILE) -> Manifest:
        """Returns what `to_json` was made of, also of an older version.

        Raises:
          AppError: If it is of a newer version, or something in it is wrong.
        """
        fields = Fields(entry, where)
        _check_version(fields, where)
        files = Fields(fields.take("files", dict), f"'files' of {where}")
        ports = {
            name: tuple(
                Port.from_json(x, f"{name}[{i}] of {where}")
                for i, x in enumerate(fields.take(name, list, []))
            )
            for name in ("inputs", "references", "outputs")
        }
        return cls(
            **ports,
            **{
                name: fields.take(name, str, "")
                for name in ("description", "licence", "task", "evaluator")
            },
            **{
                name: fields.texts(name)
                for name in (
                    *("members", "allowed_overrides", "data_paths"),
                    *("verbs", "trusted", "trusted_to_evaluate", "trusted_to_train"),
                )
            },
            **{name: fields.take(name, int, 0) for name in _NUMBERS},
            name=fields.take("name", str),
            version=fields.take("version", str, "1.0.0"),
            takes_masks=fields.take("takes_masks", bool, False),
            files={path: _file_entry(files, path) for path in files.names},
            format_version=VERSION,
        )

    def describe(self) -> str:
        """Returns what there is to know of it, a line per thing."""
        task = f", {self.task}" if self.task else ""
        lines = [f"{self.name} {self.version}{task}"]
        if self.description:
            lines.append(f"  {self.description}")
        for title in ("inputs", "references", "outputs"):
            for port in getattr(self, title):
                lines.append(f"  {title[:-1]} {port.describe()}")
        lines.append(f"  can {', '.join(self.verbs)}")
        lines.append(
            f"  {len(self.members)} member{'s' if len(self.members) != 1 else ''} "
            f"({', '.join(self.members)}), up to {self.max_tta} augmented copies and "
            f"{self.max_mc} draws of dropout"
        )
        if self.allowed_overrides:
            allowed = ", ".join(f"--cfg.{x}" for x in self.allowed_overrides)
            lines.append(f"  a call may set {allowed}")
        if self.licence:
            lines.append(f"  licence: {self.licence}")
        if self.trusted:
            lines.append(f"  runs code of {', '.join(self.trusted)}: --trust_code")
        elif self.trusted_to_evaluate:
            names = ", ".join(self.trusted_to_evaluate)
            lines.append(f"  to evaluate, it runs code of {names}: --trust_code")
        return "\n".join(lines)

    def has_file(self, name: str) -> bool:
        """Whether there is such a file in the app."""
        return name in self.files

    def check_verb(self, verb: str) -> None:
        """Raises `AppError` unless the app can do it."""
        if verb in self.verbs:
            return
        if verb in VERBS:
            raise AppError(
                f"The app {self.name!r} cannot {verb}: it can {list(self.verbs)}."
            )
        raise AppError(
            f"There is no verb {verb!r}: apps know {list(VERBS)}."
            f"{errors.did_you_mean(verb, VERBS)}"
        )

    def foreign_code(self, verb: str) -> tuple[str, ...]:
        """Returns the packages outside of Kauldron's that a verb runs code of.

        A `pipeline` that compares runs what `evaluate` runs.
        """
        of_verb = {
            "evaluate": self.trusted_to_evaluate,
            "fine-tune": self.trusted_to_train,
        }
        return tuple(dict.fromkeys((*self.trusted, *of_verb.get(verb, ()))))

    def check_trusted(self, verb: str, trusted: Sequence[str] = ()) -> None:
        """Raises `AppError` if a verb runs code of a package that is not trusted."""
        missing = [x for x in self.foreign_code(verb) if x not in trusted]
        if missing:
            parts = {"fine-tune": "The training of the", "evaluate": "Measuring the"}
            is_part = verb in parts and not set(self.trusted) & set(missing)
            what = f"{parts[verb]} app" if is_part else "The app"
            raise AppError(
                f"{what} {self.name!r} runs code of {', '.join(map(repr, missing))}, "
                "outside of Kauldron. Look at it, and trust it with `--trust_code` or "
                "`App(path, trust_code=True)`; a server never runs such code."
            )


_NUMBERS = ("max_tta", "max_mc", "step")


def read_manifest(path: str | os.PathLike[str], *, check: bool = True) -> Manifest:
    """Returns what an app says about itself; nothing of it is executed.

    Args:
      path: Its directory, or its zip.
      check: Whether sizes and checksums of all its files are compared; otherwise only
        that they are there, with the right size.

    Raises:
      AppError: If there is no app, it is of a newer version, or it is damaged.
    """
    try:
        return _read(pathlib.Path(path), check=check)
    except OSError as e:
        place = os.fspath(path)
        raise AppError(
            f"The app {place!r} cannot be read: {e.strerror or e}: "
            f"{os.fspath(e.filename or place)!r}."
        ) from e


def _read(place: pathlib.Path, *, check: bool) -> Manifest:
    path = os.fspath(place)
    if zipfile.is_zipfile(place):
        return _read_zip(place, check=check)
    if not (place / FILE).is_file():
        if was_app(place):
            told = f"{FILE!r} is missing" if place.is_dir() else "the zip is cut off"
            raise AppError(_damaged(path, told))
        raise AppError(
            f"There is no app at {path!r}: a directory with an {FILE}, or a zip of one. "
            "`kauldron apps bundle` makes one of a run."
        )
    text = _limited((place / FILE).open("rb"), path)
    manifest = _parsed(text, path)
    for name, entry in manifest.files.items():
        file = place / name
        if not file.is_file():
            raise AppError(_damaged(path, f"{name!r} is missing"))
        _check_size(path, name, file.stat().st_size, entry)
        if check:
            with file.open("rb") as f:
                _check_hash(path, name, f, entry)
    return manifest


def was_app(place: pathlib.Path) -> bool:
    """Whether something looks like an app, be it damaged; an unreadable folder does."""
    try:
        if place.is_dir():
            weights = (place / _MEMBERS).glob("*.safetensors")
            return (place / FILE).exists() or any(weights)
        if zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive:
                return FILE in archive.namelist()
        with place.open("rb") as f:
            return f.read(len(_ZIP_START)) == _ZIP_START
    except PermissionError:
        return place.suffix in ("", ".zip")
    except (OSError, zipfile.BadZipFile):
        return False


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> Manifest:
    """Writes the `app.json` of a folder, with the checksums of all files in it.

    Returns:
      The manifest with the checksums.
    """
    place = pathlib.Path(folder)
    files = {}
    for file in sorted(x for x in place.rglob("*") if x.is_file()):
        name = file.relative_to(place).as_posix()
        if name != FILE:
            with file.open("rb") as f:
                digest = hashlib.file_digest(f, "sha256").hexdigest()
            files[name] = FileEntry(bytes=file.stat().st_size, sha256=digest)
    manifest = dataclasses.replace(manifest, files=files)
    text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False)
    (place / FILE).write_text(f"{text}\n", encoding="utf-8")
    return manifest


def check_name(name: str, what: str = "apps") -> None:
    """Raises `AppError` unless something can be called so in URLs and file names."""
    letters = name.replace("_", "").replace("-", "").replace(".", "")
    if not letters.isascii() or not letters.isalnum() or name.startswith((".", "-")):
        raise AppError(
            f"Names of {what} have letters, digits, '_', '-' and '.', as in "
            f"'digits_app': got {name!r}."
        )


def _read_zip(place: pathlib.Path, *, check: bool) -> Manifest:
    with zipfile.ZipFile(place) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if FILE not in members:
            raise AppError(f"{os.fspath(place)!r} is no app: the zip has no {FILE}.")
        text = _limited(archive.open(FILE), os.fspath(place))
        manifest = _parsed(text, os.fspath(place))
        for name, entry in manifest.files.items():
            if name not in members:
                raise AppError(_damaged(place, f"{name!r} is missing"))
            _check_size(place, name, members[name].file_size, entry)
            if check:
                try:
                    with archive.open(name) as f:
                        _check_hash(place, name, f, entry)
                except (zipfile.BadZipFile, zlib.error, EOFError) as e:
                    raise AppError(_damaged(place, f"{name!r}: {e}")) from e
    return manifest


def _limited(f: IO[bytes], where: str) -> bytes:
    with f:
        text = f.read(_MAX_MANIFEST_BYTES + 1)
    if len(text) > _MAX_MANIFEST_BYTES:
        raise AppError(f"The {FILE} of {where!r} is larger than 16 MiB: it is no app.")
    return text


def _parsed(text: bytes, where: str) -> Manifest:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise AppError(_damaged(where, f"its {FILE} is no JSON: {e}")) from None
    return Manifest.from_json(entry, f"the {FILE} of {where!r}")


def _check_version(fields: Fields, where: str) -> None:
    if fields.take("format", str, "") != FORMAT:
        raise AppError(f"{where[0].upper()}{where[1:]} is not that of an app.")
    version = fields.take("format_version", int)
    if not 1 <= version <= VERSION:
        raise AppError(
            f"{where[0].upper()}{where[1:]} is of version {version}, and this Kauldron "
            f"reads versions 1 to {VERSION}: use a newer Kauldron."
        )


def _file_entry(files: Fields, path: str) -> FileEntry:
    fields = Fields(files.take(path, dict), f"the entry of {path!r}")
    return FileEntry(bytes=fields.take("bytes", int), sha256=fields.take("sha256", str))


def _check_relative(path: str) -> None:
    parts = pathlib.PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0] == "/" or "\\" in path or ":" in path:
        raise AppError(f"Files of an app are inside of it: got {path!r}.")


def _check_size(path: Any, name: str, num_bytes: int, entry: FileEntry) -> None:
    if num_bytes != entry.bytes:
        told = f"{name!r} has {num_bytes} bytes in place of {entry.bytes}"
        raise AppError(_damaged(path, told))


def _check_hash(path: Any, name: str, f: IO[bytes], entry: FileEntry) -> None:
    digest = hashlib.sha256()
    while chunk := f.read(2**20):
        digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise AppError(_damaged(path, f"{name!r} has another checksum"))


def _damaged(path: str | os.PathLike[str], told: str) -> str:
    return (
        f"The app {os.fspath(path)!r} is damaged or was changed: {told}. Copy it again, "
        "or bundle it again."
    )
