"""`DEFINE_config_file`, config files, `ConfigArgs`."""

import copy
import subprocess
import sys

import pytest
from absl import flags

from kauldron import errors, konfig

with konfig.imports():
    import konfig_targets as targets


def define(**kwargs):
    flag_values = flags.FlagValues()
    holder = konfig.DEFINE_config_file("cfg", flag_values=flag_values, **kwargs)
    return flag_values, holder


def parse(*args):
    flag_values, holder = define()
    rest = flag_values(["program", *args])
    return holder.value, rest


def test_overrides_come_from_the_arguments_that_absl_parses(example, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["other", "--cfg.seed=99"])
    cfg, rest = parse(f"--cfg={example}", "--cfg.num_train_steps=5", "positional")
    assert cfg.num_train_steps == 5 and "seed" not in cfg
    assert rest == ["program", "positional"]


def test_config_is_built_once_and_again_after_another_parse(example):
    flag_values, holder = define()
    flag_values(["program", f"--cfg={example}", "--cfg.seed=1"])
    assert holder.value is flag_values.cfg
    assert flag_values["cfg"].config_filename == example
    assert flag_values["cfg"].override_values == {"seed": "1"}
    flag_values(["program", f"--cfg={example}", "--cfg.seed=2"])
    assert holder.value.seed == 2


def test_order_of_flags_does_not_matter(example):
    flag = f"--cfg={example}"
    for args in (["--cfg.seed=1", flag], [flag, "--cfg.seed=1"]):
        assert parse(*args)[0].seed == 1


def test_forms_of_flags(example):
    cfg, rest = parse(
        f"--cfg={example}",
        "--cfg.seed",
        "7",
        "-cfg.aux.name=a=b c",
        "--cfg.setup=py::konfig_targets.Setup(is_quiet=True)",
        "--nocfg.setup.is_quiet",
        "--cfg.aux.flag",
        "--cfg.optimizer.b1",
        "-1",
        "--",
        "--cfg.seed=8",
    )
    assert (cfg.seed, cfg.aux.name, cfg.optimizer.b1) == (7, "a=b c", -1.0)
    assert cfg.setup.is_quiet is False and cfg.aux.flag is True
    assert rest == ["program", "--cfg.seed=8"]


def test_flag_without_a_value_is_true_and_never_a_text(write):
    path = write(
        "from kauldron import konfig\n"
        "def get_config():\n"
        "    return konfig.ConfigDict({'name': 'a', 'on': False})\n"
    )
    assert parse(f"--cfg={path}", "--cfg.on")[0].on is True
    with pytest.raises(errors.UserError, match=r"a value is missing: .*--cfg\.name="):
        parse(f"--cfg={path}", "--cfg.name")


def test_flagfile(example, write):
    path = write("--cfg.seed=3\n# comment\n--cfg.aux.name=from file\n", "flags.txt")
    cfg, _ = parse(f"--cfg={example}", f"--flagfile={path}")
    assert (cfg.seed, cfg.aux.name) == (3, "from file")


def test_other_flags_work_beside_it(example):
    flag_values, holder = define()
    flags.DEFINE_integer("num", 0, "a number", flag_values=flag_values)
    konfig.DEFINE_config_file("other", flag_values=flag_values)
    flag_values(
        ["p", f"--cfg={example}", "--num=3", f"--other={example}", "--other.seed=5"]
    )
    assert flag_values.num == 3 and "seed" not in holder.value
    assert flag_values.other.seed == 5
    with pytest.raises(flags.UnrecognizedFlagError):
        flag_values(["p", "--nmu=3"])


def test_default_file_and_no_file(example):
    flag_values, holder = define(default=example)
    flag_values(["program", "--cfg.seed=3"])
    assert holder.value.seed == 3
    assert parse()[0] is None
    with pytest.raises(konfig.ConfigFileError, match=r"Add --cfg=path/to/config.py"):
        parse("--cfg.seed=3")


def test_reading_before_parsing_is_absls_error():
    _, holder = define()
    with pytest.raises(flags.UnparsedFlagAccessError):
        _ = holder.value


def test_flag_values_can_be_copied_and_unparsed(example):
    flag_values, _ = define()
    flag_values(["program", f"--cfg={example}", "--cfg.seed=3"])
    copied = copy.deepcopy(flag_values)
    assert copied.cfg.seed == 3
    assert flag_values.flags_into_string().count("--cfg") == 2
    flag_values.unparse_flags()
    flag_values(["program", f"--cfg={example}"])
    assert "seed" not in flag_values.cfg


def test_config_object_can_be_assigned():
    flag_values, holder = define()
    flag_values(["program"])
    flag_values.cfg = konfig.ConfigDict({"a": 1})
    assert holder.value.a == 1


def test_lock_config_is_refused():
    with pytest.raises(ValueError, match=r"lock_config"):
        define(lock_config=True)


# Files.


def test_config_imports_its_neighbours_also_when_resolved(write):
    write("def make(size):\n    return size * 2\n", "neighbour_a.py")
    write("SIZE = 4\n", "neighbour_b.py")
    path = write(
        """
        import neighbour_b
        from kauldron import konfig
        with konfig.imports():
            import neighbour_a

        def get_config():
            return konfig.ConfigDict({"x": neighbour_a.make(neighbour_b.SIZE)})
        """
    )
    assert konfig.resolve(konfig.load_config_file(path)).x == 8


def test_two_files_of_one_name_are_two_modules(write):
    text = "from kauldron import konfig\ndef get_config():\n    return {'a': %d}\n"
    first, second = write(text % 1, "a/config.py"), write(text % 2, "b/config.py")
    assert konfig.load_config_file(first).a == 1
    assert konfig.load_config_file(second).a == 2


def test_missing_file_names_the_nearest(write):
    path = write("", "classifier.py")
    wrong = path.replace("classifier", "clasifier")
    with pytest.raises(FileNotFoundError, match=r"Did you mean '.*classifier.py'\?"):
        konfig.load_config_file(wrong)
    with pytest.raises(FileNotFoundError, match=r"There is no directory"):
        konfig.load_config_file(path.replace("classifier", "no/such"))


def test_directory_and_other_files_are_refused(write):
    path = write("a: 1", "config.yaml")
    with pytest.raises(konfig.ConfigFileError, match=r"ends in `.py` or `.json`"):
        konfig.load_config_file(path)
    with pytest.raises(konfig.ConfigFileError, match=r"is a directory"):
        konfig.load_config_file(path.removesuffix("/config.yaml"))


def test_json_files_and_workdirs_are_read_and_not_trusted(write):
    path = write('{"a": 1, "b": {"__const__": "os:system"}}', "run/config.json")
    for source in (path, path.removesuffix("/config.json")):
        cfg = konfig.load_config_file(source, overrides={"a": 2})
        assert cfg.a == 2
        with pytest.raises(konfig.UntrustedError, match=r"run/config.json|run\)"):
            konfig.resolve(cfg)


def test_file_without_get_config(write):
    path = write("def get_cofnig():\n    pass\n")
    with pytest.raises(
        AssertionError, match=r"defines no function `get_config\(\)`. Did"
    ):
        konfig.load_config_file(path)


@pytest.mark.parametrize(
    ("body", "error_type", "words"),
    [
        ("x = 1 / 0", ZeroDivisionError, "config.py:4\n    x = 1 / 0\nZeroDivisionError: division by zero"),
        ("def get_config():\n    return {}['a']", KeyError, "config.py:5\n    return {}['a']\nKeyError: 'a'"),
        ("def get_config():\n    return (", ValueError, "config.py:5\n    return (\nSyntaxError: '(' was never closed"),
        ("def get_config():\n    return 3", AssertionError, "returned 3 (int), not a config"),
        ("with konfig.imports():\n    import not_there", ImportError, "there is no module 'not_there'"),
        ("def get_config():\n    cfg = konfig.ConfigDict({'a': 1})\n    cfg.a = 'x'\n    return cfg", TypeError, "config.py:6\n    cfg.a = 'x'\nThe field 'a' holds int, got 'x' (str)."),
    ],
)  # fmt: skip
def test_errors_in_the_file_name_the_line(write, body, error_type, words):
    path = write(f"from kauldron import konfig\n\n\n{body}\n")
    with pytest.raises(error_type) as info:
        konfig.load_config_file(path)
    assert isinstance(info.value, errors.UserError)
    assert words in str(info.value)


def test_plain_dicts_and_ml_collections_configs_are_accepted(write):
    path = write(
        """
        import ml_collections

        def get_config():
            return ml_collections.ConfigDict({"a": {"b": 1}})
        """
    )
    cfg = konfig.load_config_file(path)
    assert type(cfg.a) is konfig.ConfigDict and cfg.a.b == 1


# Arguments of configs.

WITH_ARGS = """
import dataclasses
from kauldron import konfig

@dataclasses.dataclass(frozen=True)
class ConfigArgs:
    size: int = 1
    name: str = "a"
    sizes: tuple = ()

def get_config(args):
    return konfig.ConfigDict({"args": args, "double": args.size * 2})
"""


def test_config_args_from_colon_text_and_flags(write):
    path = write(WITH_ARGS)
    cfg, _ = parse(f"--cfg={path}")
    assert cfg.double == 2
    cfg, _ = parse(f"--cfg={path}:size=3,sizes=(1,2),name=x", "--cfg.double=7")
    assert cfg.args == konfig.ConfigDict({"size": 3, "name": "x", "sizes": (1, 2)})
    assert cfg.double == 7
    cfg, _ = parse(f"--cfg={path}:size=3", "--cfg.__args__.size=5")
    assert cfg.double == 10


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([":sizee=3"], "has no argument 'sizee'. Did you mean 'size'?"),
        ([":size=abc"], "expected"),
        ([":size"], "'size' is no argument. Write `name=value,other=value`."),
        (["", "--cfg.__args__.sizee=3"], "Did you mean 'size'?"),
        (["", "--cfg.__args__=3"], "name a field"),
        (["", "--cfg.__args__.name={'a': 1}"], ""),
    ],
)
def test_bad_config_args(write, args, words):
    path = write(WITH_ARGS)
    if args == ["", "--cfg.__args__.name={'a': 1}"]:
        assert parse(f"--cfg={path}", args[1])[0].args.name == "{'a': 1}"
        return
    with pytest.raises(konfig.ConfigError) as info:
        parse(f"--cfg={path}{args[0]}", *args[1:])
    assert words in str(info.value)


def test_nodes_are_no_config_args(write):
    path = write(WITH_ARGS)
    with pytest.raises(TypeError, match=r"cannot be a config node"):
        konfig.load_config_file(path, overrides={"__args__.sizes": targets.Box()})


def test_text_argument_without_config_args(write):
    path = write("def get_config(arg='none'):\n    return {'arg': arg}\n")
    assert konfig.load_config_file(path).arg == "none"
    assert konfig.load_config_file(f"{path}:big").arg == "big"
    path = write("def get_config():\n    return {}\n", "other.py")
    with pytest.raises(TypeError, match=r"takes no argument"):
        konfig.load_config_file(f"{path}:big")
    with pytest.raises(KeyError, match=r"defines no `ConfigArgs`"):
        konfig.load_config_file(path, overrides={"__args__.x": 1})


def test_get_config_from_module():
    class module:  # anything with the attributes
        __name__ = "m"

        @staticmethod
        def get_config():
            return konfig.ConfigDict({"a": 1})

    assert konfig.get_config_from_module(module).a == 1


def test_parse_overrides_refuses_other_arguments():
    with pytest.raises(ValueError, match=r"'--seed=1' is no override"):
        konfig.parse_overrides(["--cfg.a=1", "--seed=1"])


def test_app_run_with_its_own_argv(example):
    code = (
        "import sys; sys.path.insert(0, 'tests/konfig')\n"
        "from absl import app\n"
        "from kauldron import konfig\n"
        "CFG = konfig.DEFINE_config_file('cfg')\n"
        "def main(argv): print('steps', CFG.value.num_train_steps)\n"
        f"app.run(main, argv=['p', '--cfg={example}', '--cfg.num_train_steps=5'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == "steps 5\n", done.stderr


XMANAGER = """
from kauldron import konfig

with konfig.imports():
    from {package} import xm
    import fractions


def get_config():
    cfg = konfig.ConfigDict({{"half": fractions.Fraction(1, 2)}})
    cfg.job = xm.Requirements(gpu=1)
    return cfg
"""


def from_flag(path):
    values = flags.FlagValues()
    holder = konfig.DEFINE_config_file("cfg", flag_values=values)
    values(["program", f"--cfg={path}"])
    return holder.value


def test_absent_package_is_a_name_on_the_command_line(write, capsys):
    path = write(XMANAGER.format(package="xmanager_not_installed"))
    cfg = from_flag(path)
    assert "xmanager_not_installed.xm.Requirements(gpu=1)" in repr(cfg)
    assert konfig.resolve(cfg.half) * 2 == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "config.py:5: there is no module 'xmanager_not_installed' here" in line
    with pytest.raises(
        ImportError, match="there is no module 'xmanager_not_installed'"
    ):
        konfig.resolve(cfg)
    with pytest.raises(ImportError, match="there is no module"):
        konfig.load_config_file(path)


@pytest.mark.parametrize(
    ("package", "hint"), [("fractons", "'fractions'"), ("kauldron.konfg", "'konfig'")]
)
def test_misspelt_module_is_an_error_on_the_command_line(write, package, hint):
    with pytest.raises(ImportError, match=f"Did you mean {hint}"):
        from_flag(write(XMANAGER.format(package=package)))
