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

from kauldron._base import lazy

# File -> the names in it. Imported when first used, so that importing konfig is light.
_FILES = {
    # Writing configs.
    "writing._capture": "imports set_lazy_imported_modules",
    "writing._mocked_modules": "mock_modules",
    "tree._config_dict": "ConfigDict",
    "writing._auto_nested_config": "AutoNestedConfigDict",
    "writing._reference_makers": (
        "ConfigDictLike WithRef placeholder ref_copy ref_fn required"
    ),
    # From configs to objects.
    "building._resolve": "resolve",
    "building._check": "check",
    "building._problems": "Problem to_lines",
    # From objects to configs, and between forms.
    "building._export": "export export_qualname",
    "building._exact_record": "record",
    "text._json_file": "load",
    "text._python_file": "to_python",
    "text._diff": "Change Diff",
    "flags._sources": "diff",
    # Files, flags, overrides, sweeps.
    "flags._config_flag": "DEFINE_config_file parse_overrides split_overrides",
    "flags._config_file": "get_config_from_module load_config_file",
    "flags._override": "Override",
    "flags._overrides": "apply_overrides",
    "flags._sweeps": "Sweep expand_sweeps find_sweeps to_flag_value to_flags",
    "flags._choices": "expand_choices parse_call",
    # Names and defaults.
    "names._declarations": "register_aliases",
    "names._package_declaration": "PackageDeclaration",
    "tree._default_values": "register_default_values",
    # What is wrong.
    "_errors": (
        "ConfigAttributeError ConfigError ConfigFileError ConfigImportError "
        "ConfigIndexError ConfigKeyError ConfigTypeError MissingFileError "
        "RequiredValueError UntrustedError"
    ),
}

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        name: f"{__name__}.{file}:{name}"
        for file, names in _FILES.items()
        for name in names.split()
    },
)

# The same for editors and type checkers.
if TYPE_CHECKING:
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
    from kauldron.konfig.building._check import check
    from kauldron.konfig.building._exact_record import record
    from kauldron.konfig.building._export import (
        export,
        export_qualname,
    )
    from kauldron.konfig.building._problems import (
        Problem,
        to_lines,
    )
    from kauldron.konfig.building._resolve import resolve
    from kauldron.konfig.flags._choices import expand_choices, parse_call
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
        to_flag_value,
        to_flags,
    )
    from kauldron.konfig.names._declarations import register_aliases
    from kauldron.konfig.names._package_declaration import (
        PackageDeclaration,
    )
    from kauldron.konfig.text._diff import (
        Change,
        Diff,
    )
    from kauldron.konfig.text._json_file import load
    from kauldron.konfig.text._python_file import to_python
    from kauldron.konfig.tree._config_dict import ConfigDict
    from kauldron.konfig.tree._default_values import (
        register_default_values,
    )
    from kauldron.konfig.writing._auto_nested_config import (
        AutoNestedConfigDict,
    )
    from kauldron.konfig.writing._capture import (
        imports,
        set_lazy_imported_modules,
    )
    from kauldron.konfig.writing._mocked_modules import mock_modules
    from kauldron.konfig.writing._reference_makers import (
        ConfigDictLike,
        WithRef,
        placeholder,
        ref_copy,
        ref_fn,
        required,
    )
