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

from kauldron.konfig import _builtin_defaults
from kauldron.konfig._capture import imports, set_lazy_imported_modules
from kauldron.konfig._check import Problem, check
from kauldron.konfig._config_dict import ConfigDict
from kauldron.konfig._config_file import get_config_from_module, load_config_file
from kauldron.konfig._defaults import register_default_values
from kauldron.konfig._errors import (
    ConfigAttributeError,
    ConfigError,
    ConfigFileError,
    ConfigImportError,
    ConfigIndexError,
    ConfigKeyError,
    ConfigTypeError,
    RequiredValueError,
    UntrustedError,
)
from kauldron.konfig._flags import (
    DEFINE_config_file,
    parse_overrides,
    split_overrides,
)
from kauldron.konfig._overrides import Override
from kauldron.konfig._overrides import apply as apply_overrides
from kauldron.konfig._qualname import register_aliases
from kauldron.konfig._refs import (
    ConfigDictLike,
    WithRef,
    placeholder,
    ref_copy,
    ref_fn,
    required,
)
from kauldron.konfig._resolve import resolve

__all__ = [
    # Writing configs.
    "imports",
    "set_lazy_imported_modules",
    "ConfigDict",
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
    # Files, flags, overrides.
    "DEFINE_config_file",
    "load_config_file",
    "get_config_from_module",
    "Override",
    "apply_overrides",
    "parse_overrides",
    "split_overrides",
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
    "RequiredValueError",
    "UntrustedError",
]

_builtin_defaults.register()
