"""Lazy, nested configs: written as Python, kept as data, resolved into objects.

```python
from kauldron import konfig

with konfig.imports():
    import optax

cfg = optax.adam(learning_rate=1e-3)  # nothing is imported or called yet
cfg.learning_rate = 3e-4
```

`konfig.resolve(cfg)` then makes the object. Stands alone: imports no array library.
"""

from typing import TYPE_CHECKING

from kauldron._base import lazy, public
from kauldron.konfig import _builtin_defaults
from kauldron.konfig._capture import imports, set_lazy_imported_modules
from kauldron.konfig._config_dict import ConfigDict
from kauldron.konfig._defaults import register_default_values
from kauldron.konfig._errors import (
    ConfigAttributeError,
    ConfigError,
    ConfigFileError,
    ConfigImportError,
    ConfigIndexError,
    ConfigKeyError,
    ConfigTypeError,
    MissingFileError,
    RequiredValueError,
    UntrustedError,
)
from kauldron.konfig._qualname import register_aliases
from kauldron.konfig._refs import (
    ConfigDictLike,
    WithRef,
    placeholder,
    ref_copy,
    ref_fn,
    required,
)

# For editors and type checkers; see `_LATER`.
if TYPE_CHECKING:
    from kauldron.konfig._auto_nested import AutoNestedConfigDict
    from kauldron.konfig._check import Problem, check, to_lines
    from kauldron.konfig._config_file import get_config_from_module, load_config_file
    from kauldron.konfig._diff import Change, Diff, diff
    from kauldron.konfig._export import export, export_qualname
    from kauldron.konfig._flags import (
        DEFINE_config_file,
        parse_overrides,
        split_overrides,
    )
    from kauldron.konfig._mock import mock_modules
    from kauldron.konfig._overrides import Override, apply_overrides
    from kauldron.konfig._record import record
    from kauldron.konfig._resolve import resolve
    from kauldron.konfig._sweeps import Sweep, expand_sweeps, find_sweeps, to_flags
    from kauldron.konfig._to_python import to_python
    from kauldron.konfig._trust import load

# Imported when first used, so that writing configs stays light.
_LATER = {
    "resolve": "_resolve",
    "check": "_check",
    "Problem": "_check",
    "to_lines": "_check",
    "DEFINE_config_file": "_flags",
    "parse_overrides": "_flags",
    "split_overrides": "_flags",
    "load_config_file": "_config_file",
    "get_config_from_module": "_config_file",
    "Override": "_overrides",
    "apply_overrides": "_overrides",
    "AutoNestedConfigDict": "_auto_nested",
    "mock_modules": "_mock",
    "export": "_export",
    "export_qualname": "_export",
    "record": "_record",
    "diff": "_diff",
    "Diff": "_diff",
    "Change": "_diff",
    "to_python": "_to_python",
    "Sweep": "_sweeps",
    "find_sweeps": "_sweeps",
    "expand_sweeps": "_sweeps",
    "to_flags": "_sweeps",
    "load": "_trust",
}
__getattr__, _, _ = lazy.attach(
    __name__,
    {name: f"{__name__}.{module}:{name}" for name, module in _LATER.items()},
)

__all__ = [
    # Writing configs.
    "imports",
    "mock_modules",
    "set_lazy_imported_modules",
    "ConfigDict",
    "AutoNestedConfigDict",
    "ConfigDictLike",
    "WithRef",
    # References.
    "placeholder",
    "required",
    "ref_fn",
    "ref_copy",
    # From configs to objects.
    "resolve",
    "check",
    "Problem",
    "to_lines",
    # From objects to configs, and between forms.
    "export",
    "export_qualname",
    "load",
    "to_python",
    "record",
    "diff",
    "Diff",
    "Change",
    # Files, flags, overrides.
    "DEFINE_config_file",
    "load_config_file",
    "get_config_from_module",
    "Override",
    "apply_overrides",
    "parse_overrides",
    "split_overrides",
    # Sweeps.
    "Sweep",
    "find_sweeps",
    "expand_sweeps",
    "to_flags",
    # Names and defaults.
    "register_aliases",
    "register_default_values",
    # What is wrong.
    "ConfigError",
    "ConfigAttributeError",
    "ConfigFileError",
    "ConfigImportError",
    "ConfigIndexError",
    "ConfigKeyError",
    "ConfigTypeError",
    "MissingFileError",
    "RequiredValueError",
    "UntrustedError",
]

__dir__ = public.publish(__name__)

_builtin_defaults.register()
