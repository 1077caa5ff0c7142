"""The command that serves apps, and the flags that ask a server; of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

HOST = (
    Flag("host", str, None, "Ask a server, such as http://127.0.0.1:8001.", "none"),
    Flag("token", str, None, "That of the server.", "KAULDRON_APPS_TOKEN"),
)
DEVICE = Flag(
    "device", str, None, "Of a server: auto, cpu, or numbers such as 0,1.", "auto"
)

ALL = (
    Command(
        "apps serve",
        "apps_server:serve",
        "answer clients of apps over HTTP, and a page in the browser",
        "kauldron apps serve --apps=digits_app --port=8001",
        flags=(
            Flag("apps", list, [], "Paths of apps.", "required"),
            Flag("port", int, 8001, "0 takes one that is free.", "", 0),
            Flag("host", str, "127.0.0.1", "0.0.0.0 is reached from other machines."),
            Flag(
                "token",
                str,
                None,
                "What clients have to send; others on this machine can see it here.",
                "KAULDRON_APPS_TOKEN",
            ),
            Flag("warm", list, [], "Apps that stay loaded.", "none"),
            Flag("state", str, None, "Directory of jobs.", "~/.cache/kauldron/apps"),
            Flag("max_file_gb", float, 2.0, "Of a file that is sent.", "", 0.001),
            Flag("max_request_gb", float, 6.0, "Of all files of a call.", "", 0.001),
            Flag("max_jobs", int, 128, "Jobs that wait or run.", "", 1),
            Flag("cpu_jobs", int, 1, "Jobs that run at once on the CPU.", "", 1),
            Flag("job_timeout", float, None, "Ends a job after seconds.", "never", 0),
            Flag("keep_hours", float, 24.0, "How long results are kept.", "", 0),
        ),
        takes_cfg=False,
    ),
)
