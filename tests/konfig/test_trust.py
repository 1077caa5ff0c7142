"""Configs from elsewhere: gadgets are refused, honest configs are resolved."""

import json
import subprocess
import sys

import pytest

from kauldron import konfig
from kauldron.konfig.names import _policy


@pytest.fixture
def load(tmp_path):
    """Writes data as a `config.json`, and loads it."""

    def load_data(data, **kwargs):
        (tmp_path / "config.json").write_text(json.dumps(data))
        return konfig.load(tmp_path / "config.json", **kwargs)

    return load_data


GADGETS = [
    "os:system",
    "posix:system",
    "subprocess:run",
    "builtins:eval",
    "builtins:exec",
    "builtins:__import__",
    "builtins:open",
    "builtins:getattr",
    "builtins:type",
    "builtins:compile",
    "importlib:import_module",
    "pickle:loads",
    "operator:methodcaller",
    "operator:attrgetter",
    "operator:call",
    "functools:reduce",
    "runpy:run_path",
    "pathlib:Path.write_text",
    "shutil:rmtree",
    "konfig_targets:Box",
    "numpy:load",
    "numpy.lib._npyio_impl:os.system",
    "kauldron.kontext._keys:_evaluate",
    "kauldron.kontext:_keys._evaluate",
    "kauldron.kontext:set_by_path",
    "kauldron.workdir.lock:owned",
    "kauldron.train.hooks:dataclasses.sys.exit",
    "kauldron.data._fetch:fetch",
    "kauldron.kd:data.py.Json.__init__",
    "tensorflow_datasets:features.FeatureConnector.from_config",
    "tensorflow_datasets:ImageFolder",
    "tensorflow_datasets:core.lazy_imports_lib",
    "numpy:fromfile",
    "numpy:ctypeslib.load_library",
    "numpy:frompyfunc",
    "numpy:array",
    "jax:pure_callback",
    "jax.numpy:load",
    "jax:numpy.load",
    "jax.numpy:save",
    "jax.numpy:frompyfunc",
    "jax._src.nn.functions:np.load",
    "jax:debug.callback",
    "jax.experimental:io_callback",
    "jax:export.deserialize",
    "jax:distributed.initialize",
    "jax:config.update",
    "jax.numpy",
    "jax:numpy",
    "jax.tree_util:register_pytree_node",
    "optax:adam.__globals__",
    "optax:adam.__class__",
    "optax:adam.__init__.__globals__.get",
    "optax._src.base:jax.pure_callback",
    "flax.linen:Module.__subclasses__",
    "flax.serialization:from_bytes",
    "flax.training.checkpoints:restore_checkpoint",
    "kauldron.konfig:resolve",
    "kauldron.konfig:load_config_file",
    "kauldron.kd:konfig.resolve",
    "kauldron.kd:konfig.load_config_file",
    "kauldron._base.lazy:importlib.import_module",
    "kauldron.main:main",
    "kauldron.kd:losses.base.functools.reduce",
    "kauldron.data.utils:np.fromfile",
    "grain:sources.ArrayRecordDataSource",
    "tensorflow_datasets:load",
    "einops:einops.functools.partial",
    "functools:partial.__reduce__",
    "optax",
    "",
    ":",
    "os",
    "..:x",
    "os.system",
]


@pytest.mark.parametrize("qualname", GADGETS)
def test_gadgets_are_refused_as_calls_and_as_constants(load, qualname):
    call = {"__qualname__": qualname, "0": "touch /tmp/konfig_gadget_was_here"}
    const = {"__const__": qualname}
    partial = {"__qualname__": "functools:partial", "0": const, "1": "x"}
    for node in (call, const, partial, {"a": [{"b": call}]}):
        cfg = load(node)
        with pytest.raises(konfig.UntrustedError) as info:
            konfig.resolve(cfg)
        assert repr(qualname) in str(info.value) or qualname in str(info.value)
        assert "trusted=[" in str(info.value)
        assert {p.kind for p in konfig.check(cfg)} >= {"untrusted"}


def test_nothing_is_imported_before_the_name_is_accepted(load, write, monkeypatch):
    path = write("raise SystemExit('executed')\n", "explosive_gadget.py")
    monkeypatch.syspath_prepend(path.removesuffix("/explosive_gadget.py"))
    cfg = load({"a": {"__qualname__": "explosive_gadget:f"}})
    for use in (
        konfig.resolve,
        konfig.check,
        lambda c: konfig.apply_overrides(c, konfig.parse_overrides(["--cfg.a.x=3"])),
        lambda c: konfig.resolve(c.a),
        lambda c: konfig.resolve(__import__("copy").deepcopy(c)),
        lambda c: konfig.resolve(konfig.ConfigDict(c)),
        lambda c: konfig.resolve(konfig.ConfigDict({"inner": c})),
        lambda c: konfig.resolve(c | {"y": 1}),
        lambda c: konfig.resolve(konfig.ref_copy(c)),
        lambda c: konfig.resolve(
            __import__("pickle").loads(__import__("pickle").dumps(c))
        ),
    ):
        try:
            problems = use(cfg)
            assert problems and problems[0].kind == "untrusted"
        except konfig.UntrustedError:
            pass
    assert "explosive_gadget" not in sys.modules


def test_looking_at_a_config_imports_nothing(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"__qualname__": "kauldron.kd:train.Trainer", '
        '"optimizer": {"__qualname__": "optax:adam", "0": 0.1}}'
    )
    code = (
        "import sys\n"
        "from kauldron import konfig\n"
        f"cfg = konfig.load({str(tmp_path)!r})\n"
        "repr(cfg), cfg.to_json(), konfig.to_python(cfg), str(konfig.diff(cfg, cfg))\n"
        "assert not {'jax', 'optax', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "qualname",
    [
        "optax:adam",
        "optax:cosine_decay_schedule",
        "jax.nn:relu",
        "jax.nn:gelu",
        "jax:nn.relu",
        "jax.nn.initializers:zeros",
        "jax.numpy:float32",
        "jax.numpy:bfloat16",
        "jax.numpy:mean",
        "numpy:float32",
        "numpy:dtype",
        "flax.linen:Dense",
        "flax.linen:relu",
        "kauldron.kd:train.Trainer",
        "kauldron.kd:losses.L2",
        "kauldron.kd:nn.FlatAutoencoder",
        "kauldron.kd:data.Elements",
        "kauldron.kd:ckpts.Checkpointer",
        "einops:rearrange",
        "builtins:int",
    ],
)
def test_honest_names_are_accepted(load, qualname):
    (obj,) = konfig.resolve(load([{"__const__": qualname}]))
    assert obj is not None


def test_honest_config_is_resolved(load):
    cfg = load(
        {
            "o": {"__qualname__": "optax:adam", "learning_rate": 0.1},
            "f": {
                "__qualname__": "functools:partial",
                "0": {"__const__": "jax.nn:gelu"},
                "approximate": False,
            },
            "u": {
                "__qualname__": "operator:or_",
                "0": {"__const__": "builtins:int"},
                "1": {"__const__": "builtins:str"},
            },
        }
    )
    resolved = konfig.resolve(cfg)
    assert resolved.f.keywords == {"approximate": False}
    assert resolved.u == int | str and hasattr(resolved.o, "update")


def test_packages_can_be_trusted(load):
    data = {"__qualname__": "konfig_targets:Box", "0": {"__const__": "os:system"}}
    with pytest.raises(konfig.UntrustedError, match=r"os:system"):
        konfig.resolve(load(data), trusted=["konfig_targets"])
    good = {"__qualname__": "konfig_targets:Box", "0": 1}
    assert konfig.resolve(load(good), trusted=["konfig_targets"]).args == (1,)
    assert konfig.resolve(load(good, trusted=["konfig_targets"])).args == (1,)
    assert konfig.check(load(good), trusted=["konfig_targets"]) == []
    assert konfig.resolve(load(good), trusted=["*"]).args == (1,)
    with pytest.raises(konfig.UntrustedError, match=r"trusted=\['konfig_targets'\]"):
        konfig.resolve(load(good))


def test_trusting_a_package_does_not_trust_what_it_imports(load, write, monkeypatch):
    path = write("import os\nfrom os import system\n", "trusted_pkg.py")
    monkeypatch.syspath_prepend(path.removesuffix("/trusted_pkg.py"))
    for name in ("trusted_pkg:os.system", "trusted_pkg:system"):
        with pytest.raises(konfig.UntrustedError, match=r"defined in 'posix'"):
            konfig.resolve(load([{"__const__": name}]), trusted=["trusted_pkg"])


def test_nodes_that_the_user_adds_are_trusted(load):
    cfg = load({"a": 1})
    with konfig.imports():
        import konfig_targets as targets
    cfg.b = targets.Box(1)
    assert konfig.resolve(cfg).b.args == (1,)


def test_overrides_of_an_untrusted_config_are_checked_with_its_names(load):
    cfg = load({"o": {"__qualname__": "optax:adam", "learning_rate": 0.1}})
    with pytest.raises(TypeError, match=r"Did you mean 'learning_rate'"):
        konfig.apply_overrides(cfg, konfig.parse_overrides(["--cfg.o.learning_rte=1"]))


@pytest.mark.parametrize(
    "name",
    [
        "optax_extra",
        "optaxx",
        "einops2",
        "flax_models",
        "grainy",
        "jax_models",
        "kauldron_evil",
        "numpy_evil",
    ],
)
def test_package_whose_name_begins_like_a_trusted_one_is_not_even_imported(
    load, write, monkeypatch, name
):
    path = write("def f():\n    return 1\n", f"{name}.py")
    monkeypatch.syspath_prepend(path.removesuffix(f"/{name}.py"))
    for qualname in (f"{name}:f", f"{name}.kd:f", f"{name}.linen:f"):
        with pytest.raises(konfig.UntrustedError, match="is not on the list"):
            konfig.resolve(load({"__qualname__": qualname}))
    assert name not in sys.modules


def test_trusting_a_package_trusts_no_other_that_begins_like_it(
    load, write, monkeypatch
):
    path = write("def f():\n    return 1\n", "my_lib_evil.py")
    monkeypatch.syspath_prepend(path.removesuffix("/my_lib_evil.py"))
    cfg = load({"__qualname__": "my_lib_evil:f"})
    with pytest.raises(konfig.UntrustedError):
        konfig.resolve(cfg, trusted=["my_lib"])
    with pytest.raises(konfig.UntrustedError):
        konfig.resolve(cfg, trusted=["my_lib_evil.inner"])
    assert "my_lib_evil" not in sys.modules
    assert konfig.resolve(cfg, trusted=["my_lib_evil"]) == 1


@pytest.mark.parametrize(
    "name",
    [
        "kauldron.kdx:a",
        "kauldron.konfig:resolve",
        "kauldron.cli.main:main",
        "jax.nnx:relu",
        "jax._src.nnx:f",
        "grain_extra:f",
        "tensorflow_datasets.decoders:f",
        "builtins.x:f",
        "functools.partial:f",
    ],
)
def test_module_that_begins_like_one_of_the_list_is_refused_by_name(load, name):
    with pytest.raises(konfig.UntrustedError, match="which is refused"):
        konfig.resolve(load({"__qualname__": name}))


@pytest.mark.parametrize(
    "name",
    [
        "optax._src.transform:scale_by_adam",
        "optax:_src.transform.scale_by_adam",
        "einops.einops:_apply_recipe",
        "jax._src.nn.functions:relu",
    ],
)
def test_private_name_of_a_trusted_library_is_refused(load, name):
    """What it leads to would be accepted under its public name."""
    with pytest.raises(konfig.UntrustedError, match="it is private"):
        konfig.resolve(load([{"__const__": name}]))


def test_refusal_names_the_packages_that_are_trusted_already_too():
    policy = _policy.Policy.of("config.json", ["examples"])
    with pytest.raises(konfig.UntrustedError, match="--trust=examples,mine\\)"):
        policy.import_object("mine:Net")
