"""`Limits`: how much a server takes, keeps and does at once; the same everywhere."""

from __future__ import annotations

import dataclasses

from kauldron.apps.bundles.errors import AppError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a server takes, keeps and does at once.

    Attributes:
      max_file_bytes: Of a file that is sent, and of each file in an archive.
      max_request_bytes: Of all files of a request, and of an archive when unpacked.
      max_files: How many files a request, or an archive, may have.
      max_field_bytes: Of the text of all fields of a request that are no files.
      max_jobs: Jobs that wait or run; more are refused before their files are read.
      max_streams: Logs that are followed at once.
      max_cpu_jobs: Jobs that run at once on the CPU.
      max_log_bytes: Of what a job prints; one that prints more is ended.
      max_job_secs: How long a job may run; 0 is without end.
      keep_secs: How long jobs that have ended are kept, with their files.
      silence_secs: How long nothing may come of an upload before it is given up.
    """

    max_file_bytes: int = 2 * 10**9
    max_request_bytes: int = 6 * 10**9
    max_files: int = 10_000
    max_field_bytes: int = 2**20
    max_jobs: int = 128
    max_streams: int = 200
    max_cpu_jobs: int = 1
    max_log_bytes: int = 64 * 2**20
    max_job_secs: float = 0.0
    keep_secs: float = 24 * 3600.0
    silence_secs: float = 60.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "max_job_secs" else 1
            if field.name == "keep_secs":
                least = 0
            if not value >= least:
                raise AppError(f"`{field.name}` is at least {least}: got {value}.")
