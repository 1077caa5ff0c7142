"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron._base.web_server import PortError as PortError
from kauldron._base.web_server import background_server as background_server
from kauldron._base.web_server import open_port as open_port
from kauldron._base.web_server import run_server as run_server
from kauldron.serve._packages import check_packages as check_packages
from kauldron.serve.engine._answers import Answer as Answer
from kauldron.serve.engine._bench import measure_speed as measure_speed
from kauldron.serve.engine._engine import Engine as Engine
from kauldron.serve.engine._sizes import EngineError as EngineError
from kauldron.serve.http._app import make_app as make_app
from kauldron.serve.http._keys import ApiKeyError as ApiKeyError
from kauldron.serve.http._keys import read_api_keys as read_api_keys
from kauldron.serve.requests import Piece as Piece
from kauldron.serve.requests import Request as Request
from kauldron.serve.requests import RequestError as RequestError
from kauldron.serve.requests import SamplingParams as SamplingParams
from kauldron.serve.requests import ServiceError as ServiceError
from kauldron.serve.requests import TokenLogprob as TokenLogprob
from kauldron.serve.requests import Usage as Usage

__all__ = [
    "Answer",
    "ApiKeyError",
    "Engine",
    "EngineError",
    "Piece",
    "PortError",
    "Request",
    "RequestError",
    "SamplingParams",
    "ServiceError",
    "TokenLogprob",
    "Usage",
    "background_server",
    "check_packages",
    "make_app",
    "measure_speed",
    "open_port",
    "read_api_keys",
    "run_server",
]
