"""Launch descriptions: `from kauldron import kxm`.

Configs mention them (`cfg.xm_job = kxm.Job(...)`) and keep them; they are plain and never
resolved. Programs that start runs read them.
"""

from __future__ import annotations

from typing import Any


class _Description:
    """Keeps the arguments it was made with, as attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args:
            raise TypeError(f"{type(self).__name__} takes keyword arguments only.")
        self.__dict__.update(kwargs)

    def replace(self, **changes: Any) -> Any:
        """Returns a copy with some arguments changed."""
        return type(self)(**{**self.__dict__, **changes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items())
        return f"kxm.{type(self).__name__}({inside})"


class Debug(_Description):
    """What to record while a job runs."""


class InterpreterInfo(_Description):
    """Interpreter of a job."""


class Job(_Description):
    """One program to start: resources, arguments, environment."""


class Experiment(_Description):
    """A group of jobs, for instance of a sweep."""
