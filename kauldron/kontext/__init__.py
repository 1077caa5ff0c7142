"""Paths into nested structures, and objects that name their inputs by path.

A *context* is any object; a *path* names a value in it (`batch.image`,
`interms.encoder.__call__[0]`); a *key* is a field of an object that holds a path. This
is how configs wire losses, metrics, and models together without code.

Imports no array library: `flatten_with_path` imports JAX when it is called.
"""

from kauldron._base import public
from kauldron.kontext import path_builder
from kauldron.kontext._by_path import (
    PathLike,
    filter_by_path,
    get_by_path,
    set_by_path,
)
from kauldron.kontext._errors import (
    KeyPathError,
    KeyProblem,
    KeySignatureError,
    RequiredKeyError,
    SetPathError,
)
from kauldron.kontext._flatten import flatten_with_path
from kauldron.kontext._grammar import PathSyntaxError
from kauldron.kontext._keys import (
    REQUIRED,
    Context,
    Key,
    KeyTree,
    get_keypaths,
    is_key_annotated,
    list_keys,
)
from kauldron.kontext._nearest import (
    Suggestion,
    format_dtype,
    format_spec,
    nearest_paths,
)
from kauldron.kontext._path import GlobPath, Path, Wildcard
from kauldron.kontext._resolve import (
    check_keys,
    keys_error,
    resolve_from_keyed_obj,
    resolve_from_keypaths,
)
from kauldron.kontext.path_builder import (
    AnnotatedPathBuilder,
    DynamicPathBuilder,
    path_builder_from,
)

__all__ = [
    # Keys.
    "Key",
    "KeyTree",
    "REQUIRED",
    "is_key_annotated",
    "get_keypaths",
    "list_keys",
    "resolve_from_keyed_obj",
    "resolve_from_keypaths",
    "check_keys",
    "keys_error",
    # Paths.
    "Path",
    "GlobPath",
    "PathLike",
    "Wildcard",
    "Context",
    "get_by_path",
    "set_by_path",
    "filter_by_path",
    "flatten_with_path",
    # Paths written as Python.
    "path_builder",
    "path_builder_from",
    "DynamicPathBuilder",
    "AnnotatedPathBuilder",
    # What is wrong, and what was meant.
    "KeyPathError",
    "KeyProblem",
    "KeySignatureError",
    "PathSyntaxError",
    "RequiredKeyError",
    "SetPathError",
    "Suggestion",
    "format_dtype",
    "format_spec",
    "nearest_paths",
]

__dir__ = public.publish(__name__)
