"""Packages tell konfig about their names; only packages that are trusted are asked."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from kauldron import konfig

ROOT = pathlib.Path(__file__).parents[2]

PACKAGE = {
    "__init__.py": "",
    "_konfig_package.py": """
        from kauldron import konfig

        def default_values():
            with konfig.imports(lazy=True):
                from LAB import models
            yield models.Head(width=4)
            yield models.Net(head=models.Head(), depth=2)

        DECLARATION = konfig.PackageDeclaration(
            default_values=default_values,
            aliases={"LAB.models": "SHORT"},
            extras={"not_there_for_LAB": "video"},
            distribution="lab-tools",
            moved={"LAB.gone": "LAB.models", "LAB.gone_maths": "LAB.maths"},
            trusted=("LAB.maths", "LAB.models:CONSTANT"),
            trusted_classes=("LAB.models",),
            not_trusted=("LAB.models:Reader",),
            namespaces=("LAB.api",),
        )
        """,
    "models.py": """
        import dataclasses
        import os

        __all__ = ["Head", "Net", "Reader", "function"]
        CONSTANT = object()

        @dataclasses.dataclass
        class Head:
            width: int = 1

        @dataclasses.dataclass
        class Net:
            head: Head
            depth: int = 1

            @classmethod
            def make(cls):
                return cls(Head())

        class Reader: ...
        class Internal: ...

        def function():
            return 1
        """,
    "maths.py": """
        __all__ = ["double", "Number"]

        def double(x):
            return 2 * x

        def other(x):
            return x

        class Number:
            @classmethod
            def one(cls):
                return 1
        """,
    "api.py": "from LAB import models as m, maths\nimport os\n",
}


@pytest.fixture
def make_package(tmp_path, monkeypatch, request):
    """Writes a package of a name of its own, importable; returns the name."""
    number = re.sub(r"\W", "_", request.node.name)[-12:]

    def make(name: str | None = None, **changes: str) -> str:
        name = name or f"lab_{number}"
        for file, text in {**PACKAGE, **changes}.items():
            path = tmp_path / name / file
            path.parent.mkdir(exist_ok=True)
            lines = text.replace("LAB", name).replace("SHORT", f"{name}_m")
            path.write_text(_dedent(lines))
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return make


def _dedent(text: str) -> str:
    lines = text.strip("\n").split("\n")
    indent = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    return "\n".join(x[indent:] for x in lines) + "\n"


def node(name, **kwargs):
    return konfig.ConfigDict({"__qualname__": name, **kwargs})


def load(folder, data, **kwargs):
    path = folder / "config.json"
    path.write_text(json.dumps(data))
    return konfig.load(path, **kwargs)


def test_default_values_and_aliases_are_those_that_the_package_declares(make_package):
    lab = make_package()
    cfg = node(f"{lab}.models:Net")
    assert (
        repr(cfg) == f"<ConfigDict[{lab}_m.Net(head={lab}_m.Head(width=4), depth=2)]>"
    )
    override = konfig.parse_overrides([f"--cfg.x=py::{lab}_m.Head(width=7)"])
    plain = konfig.ConfigDict({"x": None})
    konfig.apply_overrides(plain, override)
    assert konfig.resolve(plain).x.width == 7


def test_written_python_leaves_declared_defaults_out(make_package):
    lab = make_package()
    text = konfig.to_python(node(f"{lab}.models:Net", depth=3))
    assert "Net(depth=3)" in text and "width" not in text


def test_package_is_asked_when_it_is_named_and_not_before(make_package):
    lab = make_package()
    konfig.ConfigDict({"a": 1})
    node("fractions:Fraction")
    assert lab not in sys.modules
    konfig.ConfigDict({"__const__": f"{lab}.models:CONSTANT"})
    assert f"{lab}._konfig_package" in sys.modules
    assert f"{lab}.models" not in sys.modules


def test_missing_module_of_an_extra_names_what_to_install(make_package):
    lab = make_package()
    node(f"{lab}.models:Net")
    words = r"pip install 'lab-tools\[video\]'"
    with pytest.raises(ImportError, match=words):
        konfig.resolve(node(f"not_there_for_{lab}.x:f"))


def test_name_in_a_module_that_is_gone_is_found_where_it_went(make_package):
    lab = make_package()
    assert konfig.resolve(node(f"{lab}.gone:Net", head=None)).depth == 1
    with pytest.raises(ImportError, match=rf"{lab}.gone.Nte` does not exist"):
        konfig.resolve(node(f"{lab}.gone:Nte"))


def test_package_that_appears_later_is_asked_then(make_package, request):
    name = "lab_that_appears_later"
    assert "depth" not in node(f"{name}.models:Net")
    make_package(name)
    assert node(f"{name}.models:Net").depth == 2


def test_third_party_names_load_nothing_of_this_package():
    program = (
        "import sys\n"
        "from kauldron import konfig\n"
        "with konfig.imports():\n"
        "    import optax\n"
        "cfg = konfig.ConfigDict({'optimizer': optax.adam(0.1)})\n"
        "repr(cfg), cfg.to_json()\n"
        "rooms = {m.split('.')[1] for m in sys.modules if m.startswith('kauldron.')}\n"
        "assert rooms == {'konfig', 'kontext', '_base'}, rooms\n"
        "assert 'optax' not in sys.modules\n"
        "with konfig.imports():\n"
        "    from kauldron import kd\n"
        "kd.train.Trainer().evals\n"
        "assert 'kauldron._konfig_package' in sys.modules\n"
        "assert not {'jax', 'numpy', 'kauldron.train'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("DECLARATOIN = 1", "got nothing. Did you mean 'DECLARATOIN'"),
        ("DECLARATION = {}", r"must have `DECLARATION = .*got \{\}"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import not_there_at_all", "No module named 'not_there_at_all'"),
        ("X = konfig.PackageDeclaration(aliases=1)", "takes a dict of names"),
        ("X = konfig.PackageDeclaration(extras={'a': 1})", "takes a dict of names"),
        ("X = konfig.PackageDeclaration(trusted='LAB')", "takes a tuple of names"),
        ("X = konfig.PackageDeclaration(trusted=('a b',))", "takes a tuple of names"),
        ("X = konfig.PackageDeclaration(default_values=[1])", "takes a function"),
        ("X = konfig.PackageDeclaration(distribution=1)", "takes a text"),
        (
            "X = konfig.PackageDeclaration(not_trusted=('LAB.a',))",
            "takes a tuple of objects, 'module:name'",
        ),
        (
            "X = konfig.PackageDeclaration(namespaces=('LAB:a',))",
            "takes a tuple of modules",
        ),
        ("X = konfig.PackageDeclaration(alias={})", "unexpected keyword.*'alias'"),
        (
            "DECLARATION = konfig.PackageDeclaration(trusted=('os',))",
            "only say of its own names what is trusted, got 'os'",
        ),
        (
            "DECLARATION = konfig.PackageDeclaration(trusted_classes=('LAB_evil.x',))",
            "only say of its own names",
        ),
        (
            "DECLARATION = konfig.PackageDeclaration(aliases={'LAB.x': 'np'})",
            "'np' already stands for 'numpy'",
        ),
        (
            "DECLARATION = konfig.PackageDeclaration(default_values=lambda: [1])",
            "must yield calls of what is in `LAB`.*got 1",
        ),
        (
            "DECLARATION = konfig.PackageDeclaration(default_values=lambda: "
            "[konfig.ConfigDict({'__qualname__': 'os:getcwd'})])",
            "must yield calls of what is in `LAB`",
        ),
        (
            "DECLARATION = konfig.PackageDeclaration(default_values=lambda: 1 / 0)",
            r"`default_values\(\)`: ZeroDivisionError",
        ),
    ],
)
def test_malformed_declaration_says_what_is_wrong(make_package, request, text, words):
    index = request.node.callspec.indices["text"]
    lab = f"malformed_lab_{index}"
    make_package(
        lab, **{"_konfig_package.py": f"from kauldron import konfig\n{text}\n"}
    )
    for _ in range(2):  # it does not get better by asking again
        with pytest.raises(konfig.ConfigError) as info:
            node(f"{lab}.models:Net")
        assert re.search(words.replace("LAB", lab), str(info.value))
        assert f"What `{lab}` declares in `{lab}._konfig_package`" in str(info.value)


# What a config from elsewhere may name.


def test_config_from_elsewhere_has_no_declaration_loaded_that_is_not_trusted(
    make_package, tmp_path
):
    explosive = {"__init__.py": "raise SystemExit('executed')\n"}
    lab = make_package(**explosive)
    data = {
        "a": {"__qualname__": f"{lab}.models:Net"},
        "b": [{"__const__": f"{lab}.models:CONSTANT"}],
    }
    cfg = load(tmp_path, data)
    repr(cfg), cfg.to_json(), konfig.to_python(cfg)
    konfig.diff(tmp_path, tmp_path / "config.json")
    konfig.check(cfg)
    for use in (konfig.resolve, lambda c: konfig.resolve(c.b)):
        with pytest.raises(konfig.UntrustedError, match="is not on the list"):
            use(cfg)
    overrides = konfig.parse_overrides(["--cfg.a.depth=3"])
    with pytest.raises(konfig.UntrustedError):
        konfig.apply_overrides(konfig.load(tmp_path), overrides)
    assert lab not in sys.modules


def test_package_that_is_imported_already_says_what_is_safe(make_package, tmp_path):
    lab = make_package()
    __import__(lab)
    cfg = load(tmp_path, {"a": {"__qualname__": f"{lab}.models:Net", "depth": 3}})
    assert cfg.a.head.width == 4
    assert konfig.resolve(cfg).a.depth == 3


def test_package_that_the_user_trusts_is_asked(make_package, tmp_path):
    lab = make_package()
    data = {"a": {"__qualname__": f"{lab}.models:Net"}}
    with pytest.raises(konfig.UntrustedError):
        konfig.resolve(load(tmp_path, data))
    cfg = load(tmp_path, data, trusted=[lab])
    assert cfg.a.head.width == 4


@pytest.mark.parametrize(
    "name",
    [
        "models:Head",
        "models:Net",
        "models:CONSTANT",
        "maths:double",
        "maths:Number",
        "maths:Number.one",
        "gone:Net",
        "api:m.Net",
        "api:maths.double",
    ],
)
def test_public_names_of_declared_modules_are_safe(make_package, tmp_path, name):
    lab = make_package(f"lab_safe_{re.sub(r'[^a-z]', '_', name.lower())}")
    __import__(lab)
    (found,) = konfig.resolve(load(tmp_path, [{"__const__": f"{lab}.{name}"}]))
    assert found is not None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("models:Reader", "does not offer it as safe"),  # an exception
        ("models:Internal", "does not offer it as safe"),  # not in `__all__`
        ("models:function", "does not offer it as safe"),  # classes alone
        ("models:Net.make", "does not offer it as safe"),
        ("models:os.system", "is not on the list"),
        ("models:dataclasses.sys.exit", "is not on the list"),
        ("maths:other", "does not offer it as safe"),
        ("gone:Reader", "does not offer it as safe"),
        ("gone_maths:other", "does not offer it as safe"),
        ("api:os.system", "is not on the list"),
        ("api:m.Internal", "does not offer it as safe"),
        ("api:m", "neither a class nor a function"),
        ("other:f", "is not on the list"),
        ("_konfig_package:default_values", "it is private"),
    ],
)
def test_other_names_of_the_package_are_refused(make_package, tmp_path, name, why):
    lab = make_package(f"lab_refused_{re.sub(r'[^a-z]', '_', name.lower())}")
    __import__(lab)
    with pytest.raises(konfig.UntrustedError, match=why):
        konfig.resolve(load(tmp_path, [{"__const__": f"{lab}.{name}"}]))


# What this package declares.


def _requirements(extra: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = set()
    for requirement in project["optional-dependencies"][extra]:
        name = re.split(r"[\[<>=!~; ]", requirement)[0]
        if name != project["name"]:
            found.add(name.lower().replace("_", "-"))
    return found


def _declaration():
    from kauldron import _konfig_package

    return _konfig_package.DECLARATION


def test_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(_declaration().extras.values()) == set(project["optional-dependencies"])


def test_every_module_of_an_extra_is_declared():
    distributions = importlib.metadata.packages_distributions()
    by_name = {}
    for module, names in distributions.items():
        for name in names:
            modules = by_name.setdefault(name.lower().replace("_", "-"), set())
            if module.isidentifier() and not module.startswith("_"):
                modules.add(module)
    extras = _declaration().extras
    for extra in set(extras.values()):
        for requirement in _requirements(extra):
            modules = by_name.get(requirement)
            if modules is None:  # not installed here: a name that is like it
                spelt = {requirement.replace("-", "_"), requirement.replace("-", "")}
                spelt |= set(requirement.split("-"))
                modules = spelt & extras.keys() or {f"any module of {requirement}"}
            assert any(extras.get(m) == extra for m in modules), (requirement, modules)


def test_trusted_modules_exist():
    declaration = _declaration()
    for name in (*declaration.trusted, *declaration.trusted_classes):
        konfig.resolve(konfig.ConfigDict({"x": {"__const__": name}}))
    for name in (*declaration.not_trusted, *declaration.namespaces):
        konfig.resolve(konfig.ConfigDict({"x": {"__const__": name}}))


@pytest.mark.parametrize(
    "name",
    [
        "kd:ckpts.load_arrays",
        "kd:ckpts.save_safetensors",
        "kd:contrib.nn.get_model_from_xid",
        "kd:data.fetch",
        "kd:data.py.HuggingFace",
        "kd:evals.Predictor.from_workdir",
        "kd:evals.evaluate_checkpoint",
        "kd:kontext.set_by_path",
        "kd:metrics.networks.save",
        "kd:train.workdirs.get_resolved",
        "kd:train.setup_utils.lock",
        "kd:from_xid.get_resolved",
    ],
)
def test_names_of_ours_that_do_more_than_compute_are_refused(tmp_path, name):
    with pytest.raises(konfig.UntrustedError):
        konfig.resolve(load(tmp_path, [{"__const__": f"kauldron.{name}"}]))


@pytest.mark.parametrize(
    "name",
    [
        "kd:sharding.FIRST_DIM",
        "kd:train.Trainer.eval_only",
        "kd:train.Precision.from_name",
        "kd:train.KDMetricWriter",
        "kd:inspect.Profiler",
        "kd:contrib.train.MultiContext",
        "kd:data.py.DataSource",
        "kd:optim.wsd_schedule",
        "kd:nn.Sequential.from_repeated",
        "kxm:Job",
        "utils.immutabledict:ImmutableDict",
        "train.metric_writer:KDMetricWriter",
        "evals.run_strategies:Once",
    ],
)
def test_components_of_ours_are_accepted(tmp_path, name):
    (found,) = konfig.resolve(load(tmp_path, [{"__const__": f"kauldron.{name}"}]))
    assert found is not None
