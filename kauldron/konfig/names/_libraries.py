"""Allowlist of common libraries, for untrusted configs.

These libraries know nothing of konfig; others speak for themselves, see
`PackageDeclaration`.
"""

from __future__ import annotations

# Module prefixes in which a name may be looked up, and in which what is found may be
# defined. JAX and Flax define things in private modules; those are listed that hold
# pure functions of arrays.
MODULES = (
    "optax",
    "einops",
    "flax.core",
    "flax.linen",
    "flax.nnx",
    "flax.struct",
    "grain",
    "tensorflow_datasets.core.decode",
    "tensorflow_datasets.core.utils.read_config",
    "tensorflow_datasets.decode",
    "jax.image",
    "jax.lax",
    "jax.nn",
    "jax.numpy",
    "jax.ops",
    "jax.random",
    "jax.scipy",
    "jax.sharding",
    "jax.tree_util",
    "jax._src.basearray",
    "jax._src.custom_derivatives",
    "jax._src.dtypes",
    "jax._src.image",
    "jax._src.lax",
    "jax._src.mesh",
    "jax._src.named_sharding",
    "jax._src.nn",
    "jax._src.numpy",
    "jax._src.ops",
    "jax._src.partition_spec",
    "jax._src.random",
    "jax._src.scipy",
    "jax._src.sharding",
    "jax._src.sharding_impls",
    "jax._src.tree_util",
)
# Looked up only: what is found is defined in one of the above, or is a NumPy scalar.
LOOK_UP_ONLY = (
    "builtins",
    "flax",
    "functools",
    "jax",
    "numpy",
    "operator",
    "tensorflow_datasets",
)
# Scalar types and the like: harmless, and configs hold them.
EXACT = frozenset(
    (
        "functools:partial",
        "operator:or_",
        *(
            f"builtins:{name}"
            for name in [
                "bool",
                "bytes",
                "complex",
                "dict",
                "float",
                "frozenset",
                "int",
                "list",
                "set",
                "slice",
                "str",
                "tuple",
            ]
        ),
    )
)
# Reads files, loads pickles, imports, calls back into Python, or registers things.
REFUSED_NAMES = (
    r"(?i)load|save|pickle|fromfile|genfromtxt|tofile|frompyfunc|callback|import"
    r"|restore_from|deserial|read_file|write_file|open|exec|eval_code|huggingface"
    r"|folder|from_json|from_config|bagz|arrayrecord|tfrecord|parquet|register|download|builder|subprocess"
)
# A name that matches, and is fine: `grain.DataLoader`.
HARMLESS_NAMES = r"\w*Loader$"
REFUSED_MODULES = (
    "flax.linen.summary",
    "grain._src.core",
    "grain._src.python.testing",
    "grain.proto",
    "jax._src.numpy.util",
    "optax.contrib._testing",
)
