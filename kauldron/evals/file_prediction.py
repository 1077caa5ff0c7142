"""`PredictsFiles`: evaluators that turn input files into output files, as apps do."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kauldron.sharding import TrainState

# The name under which a case has the file that says where it is measured.
MASK = "mask"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileKind:
    """What the files of an input or of an output are.

    Attributes:
      kind: `image`, `array`, `volume`, `segmentation`, `text` or `table`.
      required: Whether each case has one.
      default: What takes the place of one that is absent: `'zeros'`, `'ones'` or `None`.
      labels: Number -> name, of classes and segmentations.
      description: What there is to know of it, in a few words.
    """

    kind: str
    required: bool = True
    default: str | None = None
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    description: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileInterface:
    """What an evaluator reads and writes.

    Attributes:
      inputs: Name -> what it predicts from.
      settings: Globs of its fields that a user may set.
      members: Further checkpoints that it predicts with: steps, or workdirs.
      references: Name -> what it compares with.
      outputs: Name -> what it writes.
      max_copies: Up to how many augmented copies it also predicts.
      has_dropout: Whether it can predict with dropout.
      takes_masks: Whether it can measure inside of masks only.
      combines_members: Whether several states make one prediction.
    """

    inputs: Mapping[str, FileKind]
    outputs: Mapping[str, FileKind]
    settings: Sequence[str] = ()
    members: Sequence[int | str] = ()
    references: Mapping[str, FileKind] = dataclasses.field(default_factory=dict)
    max_copies: int = 0
    has_dropout: bool = False
    takes_masks: bool = False
    combines_members: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRequest:
    """What is asked of an evaluator.

    Attributes:
      cases: Name of each case -> name of an input, of a reference, or `MASK` -> file.
      predictions: Folder for what is predicted; `None` writes nothing.
      doubts: Folder for how uncertain that is; `None` writes nothing.
      measures: Whether predictions are compared with references.
      copies: How many augmented copies are predicted, too.
      dropouts: How often each member predicts with dropout; 0 is once, without.
      contents: File -> its bytes, of cases whose files are in memory. Evaluators are not
        asked for such.
    """

    cases: Mapping[str, Mapping[str, str]]
    predictions: pathlib.Path | None = None
    doubts: pathlib.Path | None = None
    measures: bool = False
    copies: int = 0
    dropouts: int = 0
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """A file of a result.

    Attributes:
      path: Where it is.
      output: Which output it is of.
      kind: What it is.
      content: What whoever asked has to write there; `None` if it was written.
    """

    path: pathlib.Path
    output: str
    kind: str
    content: bytes | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileResult:
    """What became of a case, or of all together.

    Attributes:
      case: Its name; `None` for all.
      files: What was written.
      values: Name -> number or text.
    """

    case: str | None
    files: Sequence[WrittenFile] = ()
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@runtime_checkable
class PredictsFiles(Protocol):
    """What an evaluator answers that turns input files into output files.

    Apps are made of it. They know no more of an evaluator than this.
    """

    def file_interface(self) -> FileInterface:
        """Returns what it reads and writes."""
        ...

    def file_config(self, cfg: Any) -> Any:
        """Returns the config of a run that predicts files and reads no dataset.

        Args:
          cfg: The config of the run, a copy whose training is taken away already, with
            the evaluator as the only one.
        """
        ...

    def predict_files(
        self, states: Sequence[TrainState], request: FileRequest
    ) -> Iterator[FileResult]:
        """Yields what becomes of each case, and then of all together.

        Args:
          states: Of the members, which make one prediction.
          request: What is asked.
        """
        ...
