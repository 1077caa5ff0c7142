"""`CaseFiles`: cases whose files are named one by one, in place of a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping


@dataclasses.dataclass(frozen=True)
class CaseFiles:
    """The files of cases, for `VolumeCases.path`; names of files in groups don't matter.

    Attributes:
      files: Name of a case -> name of a group -> its file, or folder of slices.
    """

    files: Mapping[str, Mapping[str, str]]

    def of_groups(
        self, groups: Collection[str]
    ) -> dict[str, Mapping[str, tuple[str, ...]]]:
        """Returns the files that `checks.check` takes."""
        return {
            case: {name: (files[name],) if name in files else () for name in groups}
            for case, files in self.files.items()
        }
