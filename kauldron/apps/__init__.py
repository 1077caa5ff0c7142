"""`kd.apps`: a trained run as a tool for anyone: command line, Python, HTTP.

Sub-rooms, each imported when a name of it is used: `bundles` (an app on disk), `verbs`
(what it does here), `client` (the same on a server), `jobs` and `http` (the server).
Only `verbs` imports JAX.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.apps"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # bundles
        **_names("bundles.calls", "Call"),
        **_names("bundles.command_line", "parse_call parse_labels shown_progress"),
        **_names("bundles.errors", "AppError"),
        **_names("bundles.manifest", "Manifest read_manifest"),
        **_names("bundles.folders", "find_app install installed_apps"),
        **_names("bundles.ports", "Label Port"),
        **_names("bundles.results", "Result ResultFile read_result"),
        # verbs
        **_names("verbs.app", "App"),
        **_names("verbs.bundling", "Description bundle bundle_trainer"),
        **_names("verbs.worker", "serve_lines"),
        # client
        **_names("client.client", "Client RemoteApp"),
        **_names("client._connection", "ServerError"),
        # jobs
        **_names("jobs._folders", "StateDirError"),
        **_names("jobs.limits", "Limits"),
        # http
        **_names("http.serving", "background_server serve"),
    },
)
