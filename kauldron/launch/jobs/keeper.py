"""`python -m kauldron.launch.jobs.keeper WORKDIR`: keeps a job in the background."""

from __future__ import annotations

import sys

from kauldron.launch.jobs import _job_status, _launching

if __name__ == "__main__":
    sys.exit(_launching.keep(_job_status.read_job(sys.argv[1])))
