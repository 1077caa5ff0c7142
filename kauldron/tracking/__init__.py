"""`kd.tracking`: projects, runs and artifacts that can be found, compared and reported.

Workdirs are the truth; the registry is an index over them that can be thrown away. Nothing
here needs JAX but `runner` and `tuning`, which train.

Sub-rooms, each imported when a name of it is used: `storage`, `settings`, `publishers`,
`registry` (the index), `trackers`, `runner`, `comparing` (tables, curves, reports),
`tuning`, `pages` (terminal and web).
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.tracking"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # storage
        # settings
        # publishers
        # registry
        # trackers
        # runner
        # comparing
        # tuning
        "tune": f"{_ROOM}.tuning",
        # pages
    },
)
