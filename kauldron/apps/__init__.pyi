"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.apps.bundles.calls import Call as Call
from kauldron.apps.bundles.command_line import parse_call as parse_call
from kauldron.apps.bundles.command_line import parse_labels as parse_labels
from kauldron.apps.bundles.command_line import shown_progress as shown_progress
from kauldron.apps.bundles.errors import AppError as AppError
from kauldron.apps.bundles.folders import find_app as find_app
from kauldron.apps.bundles.folders import install as install
from kauldron.apps.bundles.folders import installed_apps as installed_apps
from kauldron.apps.bundles.manifest import Manifest as Manifest
from kauldron.apps.bundles.manifest import read_manifest as read_manifest
from kauldron.apps.bundles.ports import Label as Label
from kauldron.apps.bundles.ports import Port as Port
from kauldron.apps.bundles.results import Result as Result
from kauldron.apps.bundles.results import ResultFile as ResultFile
from kauldron.apps.bundles.results import read_result as read_result
from kauldron.apps.client._connection import ServerError as ServerError
from kauldron.apps.client.client import Client as Client
from kauldron.apps.client.client import RemoteApp as RemoteApp
from kauldron.apps.http.serving import background_server as background_server
from kauldron.apps.http.serving import serve as serve
from kauldron.apps.jobs._folders import StateDirError as StateDirError
from kauldron.apps.jobs.limits import Limits as Limits
from kauldron.apps.verbs.app import App as App
from kauldron.apps.verbs.bundling import Description as Description
from kauldron.apps.verbs.bundling import bundle as bundle
from kauldron.apps.verbs.bundling import bundle_trainer as bundle_trainer
from kauldron.apps.verbs.worker import serve_lines as serve_lines

__all__ = [
    "App",
    "AppError",
    "Call",
    "Client",
    "Description",
    "Label",
    "Limits",
    "Manifest",
    "Port",
    "RemoteApp",
    "Result",
    "ResultFile",
    "ServerError",
    "StateDirError",
    "background_server",
    "bundle",
    "bundle_trainer",
    "find_app",
    "install",
    "installed_apps",
    "parse_call",
    "parse_labels",
    "read_manifest",
    "read_result",
    "serve",
    "serve_lines",
    "shown_progress",
]
