"""Overrides of the command line: what they set, and what they say."""

import pytest

from kauldron import konfig

with konfig.imports():
    import konfig_targets as targets

ConfigDict = konfig.ConfigDict


def load(path, *flags, tell=None):
    """Loads a config file with flags such as `seed=1`."""
    overrides = konfig.parse_overrides([f"--cfg.{flag}" for flag in flags])
    lines = [] if tell is None else tell
    return konfig.load_config_file(path, overrides=overrides, tell=lines.append)


def set_one(cfg, *flags, tell=None):
    overrides = konfig.parse_overrides([f"--cfg.{flag}" for flag in flags])
    lines = [] if tell is None else tell
    konfig.apply_overrides(cfg, overrides, tell=lines.append)
    return cfg


# Values.


@pytest.mark.parametrize(
    ("current", "text", "expected"),
    [
        (1, "5", 5),
        (1, "1e3", 1000),
        (1, "1_000", 1000),
        (1, "0x10", 16),
        (1, "-5", -5),
        (1, "None", None),
        (1, "null", None),
        (1.0, "5", 5.0),
        (1.0, "1e-3", 1e-3),
        (1.0, "inf", float("inf")),
        (True, "false", False),
        (True, "False", False),
        (False, "1", True),
        ("a", "text with spaces", "text with spaces"),
        ("a", "a=b=c", "a=b=c"),
        ("a", "", ""),
        ("a", "123", "123"),
        ("a", "'None'", "None"),
        ("a", "None", None),
        ("a", "naïve 🐟", "naïve 🐟"),
        ("a", "{wid}", "{wid}"),
        ([1], "[1, 'b', null]", None),
        ([1], "[1, 'b', None]", [1, "b", None]),
        ([1], "3,4", [3, 4]),
        ([1], "[]", []),
        ((1,), "[3, 4]", (3, 4)),
        ((1,), "()", ()),
        (None, "5", 5),
        (None, "text", "text"),
        (None, "[1, 2]", [1, 2]),
        (None, '{"a": null, "b": false}', ConfigDict({"a": None, "b": False})),
        ({"a": 1}, "{'b': 2}", ConfigDict({"b": 2})),
        ({"a": 1}, '{"b": true}', ConfigDict({"b": True})),
    ],
)
def test_values_take_the_type_of_the_field(current, text, expected):
    if text == "[1, 'b', null]":  # neither Python nor JSON
        with pytest.raises(konfig.ConfigTypeError, match="is no dict or list"):
            set_one(ConfigDict({"x": current}), f"x={text}")
        return
    cfg = set_one(ConfigDict({"x": current}), f"x={text}")
    assert cfg.x == expected and type(cfg.x) is type(expected)


@pytest.mark.parametrize(
    ("current", "text", "words"),
    [
        (1, "abc", "expected an int, got 'abc' (str)."),
        (1, "2.5", "expected an int, got 2.5 (float)."),
        (1, "true", "expected an int, got True (bool)."),
        (1, "", "no value is given; expected an int."),
        (1, "[1]", "expected an int, got [1] (list)."),
        (1.0, "abc", "expected a float, got 'abc' (str)."),
        (True, "maybe", "expected a bool, `true` or `false`, got 'maybe' (str)."),
        ([1], "abc", "expected a list, such as `[1, 2]`, got 'abc' (str)."),
        ([1], "a,b", "expected a list, such as `[1, 2]` (did you mean `['a', 'b']`?)"),
        ({"a": 1}, "3", "expected a dict, such as `{'a': 1}`, got 3 (int)."),
        (
            {"a": 1},
            '{"b":',
            "'{\"b\":' is no dict or list: the `}` at the end is missing",
        ),
        (None, '{"b":', "'{\"b\":' is no dict or list: the `}` at the end is missing"),
        (None, "", "no value is given; expected a value."),
    ],
)
def test_values_of_the_wrong_type_are_refused(current, text, words):
    cfg = ConfigDict({"x": current})
    with pytest.raises(TypeError) as info:
        set_one(cfg, f"x={text}")
    assert str(info.value).startswith(f"--cfg.x={text}: ")
    assert words in str(info.value)
    assert cfg == ConfigDict({"x": current})


def test_huge_values_give_short_errors():
    with pytest.raises(TypeError) as info:
        set_one(ConfigDict({"x": 1}), "x=" + "y" * 1_000_000)
    assert len(str(info.value)) < 400
    for text in ("(" * 100_000, "[" * 100_000, "9" * 10_000):
        with pytest.raises(TypeError) as info:
            set_one(ConfigDict({"x": 1.5}), f"x={text}")
        assert len(str(info.value)) < 400


@pytest.mark.parametrize("depth", [300, 900, 5000])
def test_deeply_nested_values_are_no_traceback(depth):
    text = "[" * depth + "]" * depth
    cfg = ConfigDict({"x": None})
    try:
        set_one(cfg, f"x={text}")
    except konfig.ConfigError as error:
        assert len(str(error)) < 400
    else:
        assert cfg.x is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("targets.adam(1e-3)", lambda: targets.adam(1e-3)),
        ("targets.adam(learning_rate=-1, b1=0x10,)", lambda: targets.adam(learning_rate=-1, b1=16)),
        ("targets.Net", lambda: ConfigDict(targets.Net)),
        ("targets.Box(targets.Net, [1, (2,)], {'a': None}, ())", lambda: targets.Box(targets.Net, [1, (2,)], {"a": None}, ())),
        ("konfig_targets:Box.made('x\\n')", lambda: targets.Box.made("x\n")),
        ("konfig_targets:Color.RED", lambda: ConfigDict(targets.Color.RED)),
        ("None", lambda: None),
        ("[1, 2.5, 'a', True, 1_000, 0b11, 2j]", lambda: [1, 2.5, "a", True, 1000, 3, 2j]),
        ("'text'", lambda: "text"),
    ],
)  # fmt: skip
def test_py_values(text, expected):
    text = text.replace("targets.", "konfig_targets.").replace(
        "konfig_konfig_", "konfig_"
    )
    cfg = set_one(ConfigDict({"x": None}), f"x=py::{text}")
    assert cfg.x == expected()


def test_py_values_expand_aliases():
    from kauldron.konfig.text import _literals

    assert _literals.parse_py("nn.Dense(3)")["__qualname__"] == "flax.linen:Dense"
    assert _literals.parse_py("kd.data.X")["__const__"] == "kauldron.kd:data.X"
    assert _literals.parse_py("a.b.c")["__const__"] == "a.b:c"


@pytest.mark.parametrize(
    "text",
    [
        "single", "f(", "a.b + 1", "a.b[0]", "a.b(*x.y)", "a.b(**x.y)", "lambda: 1",
        "f'{x}'", "[x for x in y.z]", "a.b if c.d else e.f", "", "1 +", "{**a.b}",
        "a:b:c", "a.b(c.d=1)", "'\x00", "not a.b", "-'x'", "a.b; c.d",
    ],
)  # fmt: skip
def test_bad_py_values_are_refused(text):
    with pytest.raises(ValueError, match=r"Invalid py:: expression"):
        set_one(ConfigDict({"x": None}), f"x=py::{text}")


def test_names_in_py_values_are_checked():
    cfg = ConfigDict({"x": None})
    with pytest.raises(ImportError, match=r"Did you mean 'adam'"):
        set_one(cfg, "x=py::konfig_targets.adamm(1)")
    with pytest.raises(TypeError, match=r"Did you mean 'learning_rate'"):
        set_one(cfg, "x=py::konfig_targets.adam(learning_rte=1)")


# Paths.


def test_paths(example):
    cfg = load(
        example,
        "model.features[0]=7",
        "model.features[-1]=9",
        "aux['a.b']=1",
        "aux.new=[1, 2]",
        "optimizer.b1=0.5",
        "optimizer.b2=0.9",
        "schedules.lr.init_value=1",
        "stop_after_steps=5",
        "workdir=/tmp/x y",
    )
    assert cfg.model.features == [7, 9]
    assert cfg.aux["a.b"] == 1 and cfg.aux.new == [1, 2]
    assert (cfg.optimizer.b1, cfg.optimizer.b2) == (0.5, 0.9)
    assert cfg.schedules.lr[0] == 1.0
    assert (cfg.stop_after_steps, cfg.workdir) == (5, "/tmp/x y")


def test_items_of_tuples_and_lists_of_nodes():
    cfg = ConfigDict({"t": (1, {"a": 2}), "l": [{"x": 1}]})
    set_one(cfg, "t[0]=5", "t[1].a=6", "l[0].x=7")
    assert cfg == ConfigDict({"t": (5, {"a": 6}), "l": [{"x": 7}]})


def test_number_instead_of_a_referenced_schedule(example):
    cfg = load(example, "optimizer.learning_rate=3e-4")
    assert cfg.optimizer.learning_rate == 3e-4
    assert cfg.schedules.lr["__qualname__"] == "konfig_targets:cosine"
    with pytest.raises(TypeError, match=r"expected a number, a call"):
        load(example, "optimizer.learning_rate=abc")


def test_references_follow_overrides(example):
    assert load(example, "num_train_steps=7").schedules.lr[1] == 7


def test_argument_given_by_position_is_found_by_name():
    cfg = set_one(ConfigDict({"o": targets.adam(1e-3)}), "o.learning_rate=2e-3")
    assert cfg.o == targets.adam(2e-3)
    assert set_one(cfg, "o[0]=3e-3").o == targets.adam(3e-3)


def test_last_override_wins_whatever_the_argument_is_called_in_it():
    flags = ["o[0]=1.0", "o.learning_rate=2.0", "o[0]=3.0"]
    assert set_one(ConfigDict({"o": targets.adam(0.5)}), *flags).o == targets.adam(3.0)
    flags = ["o.learning_rate=1.0", "o[0]=2.0", "o.learning_rate=3.0"]
    assert set_one(ConfigDict({"o": targets.adam(0.5)}), *flags).o == targets.adam(3.0)


def test_whole_nodes_and_fields_in_them_in_any_order():
    flags = ["o.b1=0.5", "o=py::konfig_targets.adam(1e-3)"]
    for order in (flags, flags[::-1]):
        cfg = set_one(ConfigDict({"o": targets.cosine(1.0, 2)}), *order)
        assert cfg.o == targets.adam(1e-3, b1=0.5)


def test_last_of_two_wins_and_is_told():
    told = []
    cfg = set_one(ConfigDict({"a": 1}), "a=2", "a=3", tell=told)
    assert cfg.a == 3
    assert told == ["--cfg.a is given twice: --cfg.a=3 wins."]


def test_declared_type_is_used_where_there_is_no_value(example):
    assert load(example, "stop_after_steps=1e2").stop_after_steps == 100
    assert load(example, "mode=eval").mode == "eval"
    with pytest.raises(TypeError, match=r"expected int \| None, got 'abc'"):
        load(example, "stop_after_steps=abc")
    with pytest.raises(TypeError, match=r"expected Literal\['train', 'eval'\]"):
        load(example, "mode=evil")
    with pytest.raises(TypeError, match=r"expected Setup, got 'abc'"):
        load(example, "setup=abc")


def test_text_is_refused_where_numbers_are_the_default():
    cfg = ConfigDict({"d": targets.decay()})
    with pytest.raises(
        TypeError, match=r"expected int \| float \| list\[float\], got 'fast'"
    ):
        set_one(cfg, "d.rate=fast")
    set_one(cfg, "d.rate=[0.5]", "d.name=fast")
    assert cfg.d == targets.decay(rate=[0.5], name="fast")


def test_list_for_an_argument_that_takes_text_or_lists():
    for cfg in (
        ConfigDict({"p": targets.pad()}),
        ConfigDict({"p": targets.pad("VALID")}),
    ):
        set_one(cfg, "p.padding=[1, 2]", "p.name=[1, 2]")
        assert konfig.resolve(cfg).p == ("pad", (1, 2), "[1, 2]")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("num_trian_steps=5", "`konfig_targets.Trainer` has no argument 'num_trian_steps'. Did you mean 'num_train_steps'?"),
        ("optimizer.learning_rte=1", "`konfig_targets.adam` has no argument 'learning_rte'. Did you mean 'learning_rate'?"),
        ("num_train_steps=abc", "expected int | None, got 'abc' (str)."),
        ("optimzer.b1=3", "has no argument 'optimzer'. Did you mean 'optimizer'?"),
        ("model=abc", "expected a call, such as `py::module.Class(argument=1)`, or `None`, got 'abc' (str)."),
        ("model={'a': 1}", "expected a call"),
        ("model.features[5]=3", "`cfg.model.features` has 2 items, there is no `cfg.model.features[5]`."),
        ("model.features.x=3", "`cfg.model.features` is a list: its items are `cfg.model.features[0]`"),
        ("num_train_steps.x=4", "`cfg.num_train_steps` is 1000, so it has no 'x'."),
        ("stop_after_steps.x=4", "`cfg.stop_after_steps` is not set, so that nothing in it can be changed."),
        ("evals.shrot.num_batches=3", "`cfg.evals` has no field 'shrot'. Did you mean 'short'? Its fields: short, long."),
        ("aux.widht=3", "`cfg.aux` has no field 'widht'. Did you mean 'width'? To add 'widht' nevertheless, quote it: `--cfg.aux['widht']=...`."),
        ("=3", "no field is named"),
        ("a..b=3", "Could not parse the path"),
        ("[0]=3", "has 0 positional arguments"),
    ],
)  # fmt: skip
def test_mistakes_name_the_nearest_valid_thing(example, flag, words):
    with pytest.raises(konfig.ConfigError) as info:
        load(example, flag)
    message = str(info.value)
    assert message.startswith(f"--cfg.{flag}: ")
    assert words in message
    assert len(message.splitlines()) <= 5


def test_unknown_argument_says_where_the_call_was_written(example):
    with pytest.raises(TypeError, match=r"The call was written at .*config.py:14\."):
        load(example, "optimizer.learning_rte=1")


def test_quoted_key_is_added_as_written(example):
    assert load(example, "aux['widht']=3").aux.widht == 3


def test_python_values_in_programs(example):
    cfg = konfig.load_config_file(
        example, overrides={"seed": 3, "optimizer": targets.adam(0.5), "aux.x": "1"}
    )
    assert (cfg.seed, cfg.aux.x) == (3, "1") and cfg.optimizer == targets.adam(0.5)
    with pytest.raises(TypeError):
        konfig.load_config_file(example, overrides={"num_train_steps": "abc"})


def test_required_value_can_be_given():
    cfg = ConfigDict({"a": konfig.required(int)})
    with pytest.raises(TypeError, match=r"expected an int"):
        set_one(cfg, "a=x")
    assert set_one(cfg, "a=5").a == 5


# Globs.


def test_single_star_sets_and_adds_in_every_node(example):
    told = []
    cfg = load(example, "evals.*.num_batches=2", tell=told)
    assert (cfg.evals.short.num_batches, cfg.evals.long.num_batches) == (2, 2)
    assert told == [
        "--cfg.evals.*.num_batches=2 sets "
        "cfg.evals.short.num_batches, cfg.evals.long.num_batches."
    ]


def test_double_star_sets_what_is_there():
    cfg = ConfigDict({"a": {"dtype": "f32", "l": [{"dtype": "f32"}]}, "b": {"x": 1}})
    set_one(cfg, "**.dtype=bf16")
    assert cfg == ConfigDict(
        {"a": {"dtype": "bf16", "l": [{"dtype": "bf16"}]}, "b": {"x": 1}}
    )


def test_field_named_in_full_wins_over_a_glob_in_any_order():
    flags = ["a.x=5", "**.x=9"]
    for order in (flags, flags[::-1]):
        told = []
        cfg = set_one(ConfigDict({"a": {"x": 1}, "b": {"x": 1}}), *order, tell=told)
        assert (cfg.a.x, cfg.b.x) == (5, 9)
        assert "set by flags of their own: cfg.a.x" in told[0]


def test_globs_may_disagree_about_a_field_that_is_named_in_full():
    told = []
    cfg = set_one(ConfigDict({"a": {"x": 1}}), "a.x=5", "*.x=2", "a.*=3", tell=told)
    assert cfg.a.x == 5
    assert [line.partition(" sets ")[2] for line in told] == [
        "nothing (set by flags of their own: cfg.a.x)."
    ] * 2


def test_value_of_a_glob_need_not_fit_a_field_that_is_named_in_full():
    cfg = set_one(ConfigDict({"a": {"x": 1}, "b": {"x": "s"}}), "a.x=5", "*.x=text")
    assert (cfg.a.x, cfg.b.x) == (5, "text")


def test_specific_glob_wins_over_a_vague_one_in_any_order():
    flags = ["**.x=9", "a.*.x=5"]
    for order in (flags, flags[::-1]):
        cfg = set_one(ConfigDict({"a": {"n": {"x": 1}}, "b": {"x": 1}}), *order)
        assert (cfg.a.n.x, cfg.b.x) == (5, 9)


def test_globs_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match=r"both set `cfg.a.x`, to different values"):
        set_one(ConfigDict({"a": {"x": 1}}), "*.x=2", "a.*=3")


def test_field_in_a_node_that_a_glob_replaces_is_set_after_it():
    cfg = ConfigDict({"a": {"o": {"x": 1}}})
    set_one(cfg, "a.o.x=5", "*.o={'x': 2, 'y': 3}")
    assert cfg.a.o == ConfigDict({"x": 5, "y": 3})


def test_glob_without_a_match_names_the_nearest():
    cfg = ConfigDict({"a": {"dtype": "f32"}})
    with pytest.raises(KeyError, match=r"no field matches.*Did you mean 'dtype'"):
        set_one(cfg, "**.dtyp=bf16")


def test_glob_with_a_value_of_the_wrong_type(example):
    with pytest.raises(TypeError, match=r"expected int \| None, got 'abc'"):
        load(example, "evals.*.num_batches=abc")


def test_globs_end_in_cyclic_configs():
    cfg = ConfigDict({"a": {"x": 1}})
    cfg.a.root = cfg
    assert set_one(cfg, "**.x=2").a.x == 2
