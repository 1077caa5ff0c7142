"""What is kept of jobs that have ended, and for how long."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Iterator

from kauldron.apps.jobs._folders import JobFolder, StateDir
from kauldron.apps.jobs._table import JobTable, State

_ENDED = [state for state in State if not state.is_active]


class Retention:
    """Forgets jobs that ended long ago, unless their files are being sent.

    Args:
      table: The jobs.
      state: Their folders.
      keep_secs: How long they are kept.
    """

    def __init__(self, table: JobTable, state: StateDir, keep_secs: float) -> None:
        self._table = table
        self._state = state
        self._keep_secs = keep_secs
        self._readers: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def reading(self, job_id: str) -> Iterator[JobFolder]:
        """Keeps the files of a job inside a block."""
        self._readers[job_id] += 1
        try:
            yield self._state.job(job_id)
        finally:
            self._readers[job_id] -= 1
            if not self._readers[job_id]:
                del self._readers[job_id]

    def remove(self, job_id: str) -> bool:
        """Forgets a job that has ended, and its files; whether it could."""
        if job_id in self._readers or not self._table.forget(job_id):
            return False
        self._state.job(job_id).remove()
        return True

    async def run(self) -> None:
        """Forgets, now and then."""
        while True:
            oldest = time.time() - self._keep_secs
            for job in self._table.in_states(_ENDED):
                if (job.ended or job.created) < oldest:
                    self.remove(job.id)
            await asyncio.sleep(min(60.0, max(0.05, self._keep_secs / 4)))
