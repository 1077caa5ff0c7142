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
from kauldron.konfig.names._declarations import register_aliases
from kauldron.konfig.tree._config_dict import ConfigDict
from kauldron.konfig.tree._default_values import register_default_values
from kauldron.konfig.writing._capture import imports, set_lazy_imported_modules
from kauldron.konfig.writing._reference_makers import (
    ConfigDictLike,
    WithRef,
    placeholder,
    ref_copy,
    ref_fn,
    required,
)

# For editors and type checkers; see `_LATER`.
if TYPE_CHECKING:
    from kauldron.konfig.building._check import check
    from kauldron.konfig.building._exact_record import record
    from kauldron.konfig.building._export import export, export_qualname
    from kauldron.konfig.building._problems import Problem, to_lines
    from kauldron.konfig.building._resolve import resolve
    from kauldron.konfig.flags._config_file import (
        get_config_from_module,
        load_config_file,
    )
    from kauldron.konfig.flags._config_flag import (
        DEFINE_config_file,
        parse_overrides,
        split_overrides,
    )
    from kauldron.konfig.flags._override import Override
    from kauldron.konfig.flags._overrides import apply_overrides
    from kauldron.konfig.flags._sources import diff
    from kauldron.konfig.flags._sweeps import (
        Sweep,
        expand_sweeps,
        find_sweeps,
        to_flags,
    )
    from kauldron.konfig.names._package_declaration import PackageDeclaration
    from kauldron.konfig.text._diff import Change, Diff
    from kauldron.konfig.text._json_file import load
    from kauldron.konfig.text._python_file import to_python
    from kauldron.konfig.writing._auto_nested_config import AutoNestedConfigDict
    from kauldron.konfig.writing._mocked_modules import mock_modules

# Imported when first used, so that writing configs stays light.
_LATER = {
    "resolve": "building._resolve",
    "check": "building._check",
    "Problem": "building._problems",
    "to_lines": "building._problems",
    "DEFINE_config_file": "flags._config_flag",
    "parse_overrides": "flags._config_flag",
    "split_overrides": "flags._config_flag",
    "load_config_file": "flags._config_file",
    "get_config_from_module": "flags._config_file",
    "Override": "flags._override",
    "apply_overrides": "flags._overrides",
    "AutoNestedConfigDict": "writing._auto_nested_config",
    "mock_modules": "writing._mocked_modules",
    "export": "building._export",
    "export_qualname": "building._export",
    "record": "building._exact_record",
    "diff": "flags._sources",
    "Diff": "text._diff",
    "Change": "text._diff",
    "to_python": "text._python_file",
    "Sweep": "flags._sweeps",
    "find_sweeps": "flags._sweeps",
    "expand_sweeps": "flags._sweeps",
    "to_flags": "flags._sweeps",
    "load": "text._json_file",
    "PackageDeclaration": "names._package_declaration",
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
    "PackageDeclaration",
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
