"""`konfig.imports()`: names instead of modules, in this thread and block only."""

import builtins
import contextlib
import datetime  # a variable of this module, for `mock_modules`
import gc
import importlib.util
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from kauldron import konfig


def test_import_binds_names_without_executing_the_module(write, monkeypatch):
    path = write("raise RuntimeError('executed')\n", "explosive.py")
    monkeypatch.syspath_prepend(path.removesuffix("/explosive.py"))
    with konfig.imports():
        import explosive
    cfg = explosive.Thing(3, size=4)
    assert cfg == konfig.ConfigDict(
        {"__qualname__": "explosive:Thing", "0": 3, "size": 4}
    )
    assert "explosive" not in sys.modules


def test_packages_above_a_module_are_not_executed(write, monkeypatch):
    path = write("raise RuntimeError('executed')\n", "bang/__init__.py")
    write("", "bang/sub.py")
    monkeypatch.syspath_prepend(path.removesuffix("/bang/__init__.py"))
    with konfig.imports():
        from bang import Thing, sub
    assert sub.f()["__qualname__"] == "bang.sub:f"
    assert Thing()["__qualname__"] == "bang:Thing"
    with (
        pytest.raises(
            ImportError, match=r"'bang' has no module 'sup'. Did you mean 'sub'"
        ),
        konfig.imports(),
    ):
        import bang.sup  # noqa: F401


def test_namespace_packages_are_found(write, monkeypatch):
    path = write("", "spaces/inner/leaf.py")
    monkeypatch.syspath_prepend(path.removesuffix("/spaces/inner/leaf.py"))
    with konfig.imports():
        import spaces.inner.leaf
    assert spaces.inner.leaf.f()["__qualname__"] == "spaces.inner.leaf:f"


def test_colon_stands_before_the_first_name_that_no_import_statement_mentions():
    with konfig.imports():
        import os.path
        import xml.dom
    assert os.path.join()["__qualname__"] == "os.path:join"
    assert os.environ.get()["__qualname__"] == "os:environ.get"
    assert xml.sax.parse()["__qualname__"] == "xml:sax.parse"


def test_imports_of_one_block_do_not_change_names_of_another():
    with konfig.imports():
        import xml.dom
    with konfig.imports():
        import xml as xml2
    assert xml.dom.Node()["__qualname__"] == "xml.dom:Node"
    assert xml2.dom.Node()["__qualname__"] == "xml:dom.Node"


def test_forms_of_import_statements():
    with konfig.imports():
        import json.decoder as decoder
        from collections import Counter
        from json import decoder as decoder2
    assert decoder.JSONDecoder() == decoder2.JSONDecoder()
    assert decoder.JSONDecoder()["__qualname__"] == "json.decoder:JSONDecoder"
    assert Counter()["__qualname__"] == "collections:Counter"


def test_missing_module_is_reported_at_once_with_the_nearest_name():
    with pytest.raises(konfig.ConfigImportError) as info, konfig.imports():
        import datetme  # noqa: F401
    message = str(info.value)
    assert "`import datetme`" in message
    assert "test_capture.py:" in message
    assert "there is no module 'datetme'. Did you mean 'datetime'?" in message
    assert "konfig.imports(lazy=True)" in message
    assert info.value.name == "datetme"


def test_missing_module_of_an_extra_names_the_install_command(monkeypatch):
    from kauldron.konfig.names import _declarations

    monkeypatch.setitem(_declarations.own().extras, "not_there", "demo")
    words = r"pip install 'kauldron\[demo\]'"
    with pytest.raises(ImportError, match=words), konfig.imports():
        import not_there.sub  # noqa: F401


def test_missing_symbol_of_an_imported_module_is_reported():
    with (
        pytest.raises(
            ImportError, match=r"'json' has no 'dumsp'. Did you mean 'dumps'"
        ),
        konfig.imports(),
    ):
        from json import dumsp  # noqa: F401


def test_lazy_block_looks_for_nothing():
    with konfig.imports(lazy=True):
        import not_installed_at_all.sub as sub
        from not_installed_at_all import Thing
    assert sub.f()["__qualname__"] == "not_installed_at_all.sub:f"
    assert Thing()["__qualname__"] == "not_installed_at_all:Thing"


def test_relative_and_star_imports_are_refused():
    namespace = {"__package__": "tests.konfig", "konfig": konfig}
    code = "with konfig.imports():\n    from . import x\n"
    with pytest.raises(ValueError, match=r"relative imports are not possible"):
        exec(code, namespace)
    with pytest.raises(ValueError, match=r"from json import \*"):
        exec("with konfig.imports():\n    from json import *\n", {"konfig": konfig})


def test_functions_called_inside_the_block_import_as_always():
    def use_json():
        import json

        return json.dumps([1])

    with konfig.imports():
        assert use_json() == "[1]"


def test_other_threads_import_as_always():
    inside, done = threading.Event(), threading.Event()
    results = []

    def other():
        inside.wait(10)
        import json

        results.append(json.dumps([1]))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with konfig.imports():
        import json

        inside.set()
        assert done.wait(10)
    thread.join()
    assert results == ["[1]"]
    assert json.dumps([1])["__qualname__"] == "json:dumps"


def test_many_threads_capture_at_once():
    failures = []

    def work():
        for _ in range(50):
            with konfig.imports():
                import json
            if json.dumps()["__qualname__"] != "json:dumps":
                failures.append("not captured")
            import json as real

            if real.dumps([]) != "[]":
                failures.append("captured outside")

    threads = [threading.Thread(target=work) for _ in range(8)]
    original = builtins.__import__
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert builtins.__import__ is original


def test_import_is_restored_after_an_exception():
    original = builtins.__import__
    with pytest.raises(ZeroDivisionError), konfig.imports():
        _ = 1 / 0
    assert builtins.__import__ is original


def test_blocks_nest():
    with konfig.imports():
        with konfig.imports(lazy=True):
            import not_there
        with pytest.raises(ImportError):
            import not_there_either  # noqa: F401
    assert not_there.f()["__qualname__"] == "not_there:f"


def test_works_inside_a_context_manager_of_the_user():
    @contextlib.contextmanager
    def my_imports():
        with konfig.imports(lazy=True):
            yield

    with my_imports():
        import not_there
    assert not_there.f()["__qualname__"] == "not_there:f"


def test_no_frame_is_kept_alive():
    class Big:
        pass

    def make():
        big = Big()
        with konfig.imports():
            import json
        return json.dumps(1), weakref.ref(big)

    cfg, ref = make()
    gc.collect()
    assert ref() is None
    assert cfg["__qualname__"] == "json:dumps"


def test_set_lazy_imported_modules():
    with konfig.set_lazy_imported_modules(["*"], except_=["aaa.ccc"]):
        with konfig.imports():
            from aaa.cccddd import y  # noqa: F401
        with pytest.raises(ImportError), konfig.imports():
            from aaa.ccc import x  # noqa: F401
        with konfig.imports(lazy=True):
            from aaa.ccc import z  # noqa: F401
    with konfig.set_lazy_imported_modules(["aaa.ccc"]):
        with konfig.imports():
            import aaa.ccc.sub
        with pytest.raises(ImportError), konfig.imports():
            import aaa.cccddd  # noqa: F401


def test_set_lazy_imported_modules_as_decorator():
    @konfig.set_lazy_imported_modules("aaa")
    def make():
        with konfig.imports():
            import aaa
        return aaa.f()

    assert make()["__qualname__"] == "aaa:f"


# Proxies.


def test_uncalled_name_is_a_constant():
    with konfig.imports():
        import datetime
    cfg = konfig.ConfigDict({"a": datetime.timedelta, "b": datetime})
    assert cfg.a == konfig.ConfigDict({"__const__": "datetime:timedelta"})
    assert cfg.b == konfig.ConfigDict({"__const__": "datetime"})
    import datetime as real

    assert konfig.resolve(cfg.a) is real.timedelta


def test_proxies_are_dicts_equal_by_name():
    with konfig.imports():
        import json
        import json as json2
    assert isinstance(json, dict)
    assert json["__const__"] == "json"
    assert json == json2 and hash(json) == hash(json2) and json.loads != json2.dumps
    assert bool(json)


def test_arguments_named_like_python_words():
    with konfig.imports():
        import konfig_targets as targets
    cfg = targets.Box(self=1, cls=2, name=3)
    assert dict(cfg.items())["self"] == 1 and cfg.cls == 2 and cfg.name == 3


def test_subclassing_is_refused():
    with konfig.imports():
        import json
    with pytest.raises(ValueError, match=r"cannot be subclassed"):

        class Encoder(json.JSONEncoder):
            pass


def test_indexing_and_setting_are_refused():
    with konfig.imports():
        import json
    with pytest.raises(TypeError, match=r"cannot be evaluated"):
        json.decoder["x"]
    with pytest.raises(AttributeError, match=r"cannot be set"):
        json.x = 3


def test_unions_resolve_to_unions():
    with konfig.imports():
        import builtins as b
    assert konfig.resolve(konfig.ConfigDict({"t": b.int | b.str}))["t"] == int | str
    cfg = konfig.ConfigDict({"t": None | b.int | b.str})
    assert konfig.resolve(cfg)["t"] == None | int | str  # noqa: E711: a union
    assert konfig.resolve(konfig.ConfigDict({"t": bytes | b.int}))["t"] == bytes | int


def test_partial_of_a_proxy():
    import functools

    with konfig.imports():
        import fractions
    cfg = konfig.ConfigDict({"f": functools.partial(fractions.Fraction, denominator=4)})
    assert cfg.f["__qualname__"] == "functools:partial"
    assert konfig.resolve(cfg).f(1) * 4 == 1


# Notebooks.


def test_mock_modules_replaces_globals_and_locals_and_restores_them():
    import fractions

    real_datetime, real_fractions = datetime, fractions
    with konfig.mock_modules():
        a = datetime.timedelta(hours=1)
        b = fractions.Fraction(1, 2)
    assert datetime is real_datetime and fractions is real_fractions
    assert konfig.resolve(a) == datetime.timedelta(hours=1)
    assert konfig.resolve(b) == fractions.Fraction(1, 2)


def test_mock_modules_restores_after_an_exception():
    import fractions

    real = fractions
    with pytest.raises(ZeroDivisionError), konfig.mock_modules():
        _ = 1 / 0
    assert fractions is real
    assert isinstance(datetime.timedelta(1), datetime.timedelta)


def test_mock_modules_keeps_assignments_made_inside():
    import fractions

    with konfig.mock_modules():
        fractions = 3
    assert fractions == 3


def test_mock_modules_from_several_threads_restores_globals():
    barrier = threading.Barrier(8)
    results = []

    def work(i):
        barrier.wait(10)
        for _ in range(20):
            with konfig.mock_modules():
                results.append(datetime.timedelta(i)["__qualname__"])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {"datetime:timedelta"} and len(results) == 160
    assert type(datetime) is type(sys)


def test_kd_konfig_is_mocked_but_not_konfig():
    from kauldron import kd

    with konfig.mock_modules():
        assert konfig.ConfigDict() == {} or len(konfig.ConfigDict()) == 0
        cfg = kd.konfig.ConfigDict()
    assert cfg["__qualname__"] == "kauldron.kd:konfig.ConfigDict"


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs jax to look for")
def test_konfig_alone_imports_no_array_library():
    code = """
    import sys
    from kauldron import konfig, kontext
    with konfig.imports():
        import jax.numpy as jnp
        import optax
        from kauldron import kd
    cfg = kd.train.Trainer(optimizer=optax.adam(1e-3), aux={"dtype": jnp.float32})
    repr(cfg), cfg.to_json()
    for name in ("diff", "to_python", "load", "export", "DEFINE_config_file"):
        getattr(konfig, name)
    konfig.to_python(cfg)
    loaded = {"jax", "numpy", "flax", "optax"} & set(sys.modules)
    assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
