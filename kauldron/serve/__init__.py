"""`kd.serve`: language models for many requests at once, in Python and over HTTP.

Sub-rooms, each imported when a name of it is used: `requests` (what is asked and
answered), `device` (sampling, pages, compiled programs), `scheduling` (pages, prefixes and
who is next; no JAX), `engine`, `http`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.serve"
_OF_ANY_SERVER = ("PortError", "background_server", "open_port", "run_server")


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # requests
        **_names("requests", "Piece Request RequestError SamplingParams"),
        **_names("_packages", "check_packages"),
        **_names("requests", "ServiceError TokenLogprob Usage"),
        # device
        # scheduling
        # engine
        **_names("engine._engine", "Engine"),
        **_names("engine._answers", "Answer"),
        **_names("engine._sizes", "EngineError"),
        **_names("engine._bench", "measure_speed"),
        # http
        **_names("http._app", "make_app"),
        **_names("http._keys", "ApiKeyError read_api_keys"),
        **{name: f"kauldron._base.web_server:{name}" for name in _OF_ANY_SERVER},
    },
)
