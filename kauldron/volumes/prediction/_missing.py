"""What to do where cases that are predicted lack files, such as labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from kauldron import kontext
from kauldron.volumes.cases import checks, dataset
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.prediction import outputs as outputs_lib


@contextlib.contextmanager
def explained(
    model: Any, outputs: Mapping[str, outputs_lib.Output], cases: dataset.VolumeCases
) -> Iterator[None]:
    """Adds to the error of missing files which groups a prediction does without.

    Args:
      model: Reads some groups by its keys.
      outputs: Go back to the files of some groups.
      cases: The dataset.
    """
    try:
        yield
    except checks.BadCasesError as e:
        needed = {output.like for output in outputs.values()}
        for key in kontext.list_keys(kontext.get_keypaths(model)):
            needed.update(kontext.Path.from_str(key).parts[1:2])
        missing = [
            name
            for name, group in groups_lib.as_groups(cases.groups).items()
            if name not in needed
            and any(
                problem.file == group.pattern.replace(groups_lib.CASE, problem.case)
                for problem in e.problems
            )
        ]
        if missing:
            options = " ".join(
                f"--cfg.eval_ds.groups.{x}.optional=True" for x in missing
            )
            e.add_note(
                f"Files that a prediction does without may be missing: {options}"
            )
        raise
