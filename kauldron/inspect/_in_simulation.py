"""The program of a process with simulated devices: one question from stdin, one answer."""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

from kauldron import konfig
from kauldron._base import errors
from kauldron.inspect import _step_report

_FUNCTIONS = {
    "estimate_memory": _step_report.estimate_memory,
    "sharding_report": _step_report.sharding_report,
}


def main() -> None:
    """Answers as JSON, in the last line of stdout: `result`, or the user's `mistake`."""
    request = json.loads(sys.stdin.read())
    path = pathlib.Path()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "config.json"
            path.write_text(request["cfg"], encoding="utf-8")
            # It is the config of who asks, who may run anything anyway.
            cfg = konfig.load(path, trusted=["*"])
        function = _FUNCTIONS[request["function"]]
        answer = {"result": function(cfg, **request["options"]).as_dict()}
    except errors.UserError as e:
        # The file is not one of the user's.
        answer = {"mistake": str(e).replace(f" ({path})", "")}
    print(f"\n{json.dumps(answer)}")


if __name__ == "__main__":
    main()
