"""Key annotations, resolution, the problems of keys."""

import dataclasses
import typing
from typing import Any, Optional

import jax
import jax.numpy as jnp
import pytest

from kauldron import errors, kontext
from kauldron.kontext import Key, KeyTree
from kauldron.utils.immutabledict import ImmutableDict


@dataclasses.dataclass(frozen=True, kw_only=True)
class L2:
    preds: Key = kontext.REQUIRED
    targets: Key = kontext.REQUIRED
    mask: Key | None = None
    weight: float = 1.0

    def get_values(self, preds, targets, mask=None): ...


class _Inputs(typing.TypedDict):
    image: Key
    size: int


@dataclasses.dataclass
class Everything:
    a: Key
    b: Optional[Key]  # noqa: UP045
    c: tuple[Key, ...]
    d: dict[str, Key]
    e: dict[str, list[Key | None]]
    f: KeyTree[Any]
    g: KeyTree
    h: _Inputs
    i: str = ""
    j: typing.ClassVar[Key] = "x"
    k: dict[str, int] = dataclasses.field(default_factory=dict)


def test_keys_are_found_in_every_kind_of_annotation():
    obj = Everything(
        a="a",
        b=None,
        c=("x",),
        d={"k": "y"},
        e={},
        f=["z"],
        g="g",
        h={"image": "i", "size": 3},
    )
    assert kontext.get_keypaths(obj) == {
        "a": "a",
        "b": None,
        "c": ("x",),
        "d": {"k": "y"},
        "e": {},
        "f": ["z"],
        "g": "g",
        "h": {"image": "i"},
    }


def test_unresolvable_annotations_of_other_fields_do_no_harm():
    annotations = {
        "x": "kontext.Key",
        "y": "OnlyForTypeCheckers",
        "z": "missing_module.Key | None",
    }
    body = {"__annotations__": annotations, "__module__": __name__, "z": None}
    Forward = dataclasses.dataclass(type("Forward", (), body))
    assert kontext.get_keypaths(Forward(x="a", y=1)) == {"x": "a", "z": None}


def test_is_key_annotated():
    class Custom:
        def __kontext_keys__(self):
            return {"x": "batch.x"}

    assert kontext.is_key_annotated(L2) and kontext.is_key_annotated(L2())
    assert kontext.is_key_annotated(Custom()) and kontext.is_key_annotated(Custom)
    assert not kontext.is_key_annotated(int) and not kontext.is_key_annotated(3)
    assert kontext.get_keypaths(Custom()) == {"x": "batch.x"}
    assert kontext.get_keypaths(3) == {}


def test_keys_of_flax_modules():
    from flax import linen as nn

    class Model(nn.Module):
        image: Key = kontext.REQUIRED
        width: int = 3

    assert kontext.get_keypaths(Model(image="batch.x")) == {"image": "batch.x"}


CONTEXT = {"batch": {"image": 1, "label": 2}, "preds": {"image": 3}}


def test_resolution_gives_the_arguments():
    loss = L2(preds="preds.image", targets="batch.image")
    kwargs = kontext.resolve_from_keyed_obj(CONTEXT, loss, func=loss.get_values)
    assert kwargs == {"preds": 3, "targets": 1}
    loss = dataclasses.replace(loss, mask="batch.label")
    kwargs = kontext.resolve_from_keyed_obj(
        CONTEXT, loss, func=L2.get_values.__get__(loss)
    )
    assert kwargs == {"preds": 3, "targets": 1, "mask": 2}


def test_trees_of_keys_give_trees_of_values():
    tree = {"a": ("batch.image", ["preds.image"]), "b": ImmutableDict(c="batch.label")}
    values = kontext.resolve_from_keypaths(
        CONTEXT, {"x": tree, "y": kontext.Path("preds")}
    )
    assert values == {"x": {"a": (1, [3]), "b": {"c": 2}}, "y": {"image": 3}}
    assert type(values["x"]["b"]) is ImmutableDict


def test_required_keys_must_be_set():
    with pytest.raises(
        ValueError, match="L2: required keys are not set: 'targets'"
    ) as info:
        kontext.resolve_from_keyed_obj(CONTEXT, L2(preds="preds.image"))
    assert isinstance(info.value, errors.UserError)
    with pytest.raises(ValueError, match="'x' is None"):
        kontext.resolve_from_keypaths(CONTEXT, {"x": None})
    with pytest.raises(ValueError, match=r"x\['a'\]\" is not set"):
        kontext.resolve_from_keypaths(CONTEXT, {"x": {"a": kontext.REQUIRED}})


def test_keys_must_be_the_parameters():
    loss = L2(preds="preds.image", targets="batch.image")
    with pytest.raises(TypeError, match="L2: signature does not match") as info:
        kontext.resolve_from_keyed_obj(CONTEXT, loss, func=lambda preds, target: 0)
    text = str(info.value)
    assert "no parameter 'targets'; no key for the parameter 'target'" in text
    assert "Keys: preds, targets." in text and "(preds, target)" in text
    kontext.resolve_from_keyed_obj(CONTEXT, loss, func=lambda preds, **rest: 0)
    kontext.resolve_from_keyed_obj(CONTEXT, loss, func=lambda preds, targets, x=1: 0)


def test_every_bad_key_is_told_with_the_field_as_the_user_wrote_it():
    loss = L2(preds="preds.imgae", targets="batch.images")
    with pytest.raises(KeyError) as info:
        kontext.resolve_from_keyed_obj(
            CONTEXT, loss, prefix="cfg.train_losses['recon']"
        )
    assert isinstance(info.value, kontext.KeyPathError | errors.UserError)
    text = str(info.value)
    assert text.startswith("L2: Invalid keys")
    assert "cfg.train_losses['recon'].preds = 'preds.imgae'" in text
    assert "cfg.train_losses['recon'].targets = 'batch.images'" in text
    assert "Did you mean 'preds.image'?" in text
    assert [p.nearest[0].path for p in info.value.problems] == [
        "preds.image",
        "batch.image",
    ]


def _abstract(tree):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(*x), tree, is_leaf=lambda x: isinstance(x, tuple)
    )


@pytest.fixture
def abstract_context():
    return {
        "step": jax.ShapeDtypeStruct((), jnp.int32),
        **_abstract(
            {
                "batch": {
                    "image": ((32, 28, 28, 1), jnp.float32),
                    "image_id": ((32, 1), jnp.int32),
                    "label": ((32, 1), jnp.int32),
                },
                "preds": {"image": ((32, 28, 28, 1), jnp.bfloat16)},
                "params": {"encoder": {"kernel": ((784, 64), jnp.float32)}},
            }
        ),
        "grads": None,
    }


def test_check_keys_collects_problems(abstract_context):
    loss = L2(preds="batch.imgae", mask="grads.x")
    problems = kontext.check_keys(
        abstract_context, loss, prefix="cfg.train_losses['recon']"
    )
    assert [p.field.rpartition(".")[2] for p in problems] == [
        "preds",
        "targets",
        "mask",
    ]
    assert [p.kind for p in problems] == ["missing", "required", "missing"]
    first = problems[0]
    assert (first.path, first.resolved, first.missing) == (
        "batch.imgae",
        "batch",
        "imgae",
    )
    assert str(first.nearest[0]) == "'batch.image' (f32[32 28 28 1])"
    assert str(first) == (
        "cfg.train_losses['recon'].preds = 'batch.imgae': 'batch' exists, but has no "
        "'imgae'.\n"
        "  Did you mean 'batch.image' (f32[32 28 28 1])?\n"
        "  Also near: 'batch.image_id' (i32[32 1]), 'batch.label' (i32[32 1]).\n"
        "  'batch' has: image, image_id, label."
    )
    assert "'grads' is None here" in str(problems[2])


def test_check_keys_is_content_with_good_keys(abstract_context):
    loss = L2(preds="preds.image", targets="batch.image[..., :1]", mask="step")
    assert kontext.check_keys(abstract_context, loss) == []
    assert (
        kontext.check_keys(
            abstract_context, {"x": "params.**.kernel"}, allow_globs=True
        )
        == []
    )


@pytest.mark.parametrize(
    "path, kind, words",
    [
        ("grads", "none", "it is None here"),
        ("params.**.kernel", "wildcard", "TreeMap"),
        ("batch/image", "syntax", "Did you mean 'batch.image'"),
        (3, "syntax", "got 3 of type int"),
    ],
)
def test_kinds_of_problems(abstract_context, path, kind, words):
    (problem,) = kontext.check_keys(abstract_context, {"x": path})
    assert problem.kind == kind
    assert words in str(problem)


def test_globs_that_match_nothing_are_problems(abstract_context):
    (problem,) = kontext.check_keys(
        abstract_context, {"x": "params.**.kernal"}, allow_globs=True
    )
    assert problem.nearest[0].path == "params.encoder.kernel"
    (problem,) = kontext.check_keys(
        abstract_context, {"x": "parms.**.a"}, allow_globs=True
    )
    assert problem.nearest[0].path == "params"


@pytest.mark.parametrize(
    "typo, meant",
    [
        ("batch.imgae", "batch.image"),
        ("batch.image_di", "batch.image_id"),
        ("batch.iamge", "batch.image"),
        ("btach.image", "batch.image"),
        ("batch.labels", "batch.label"),
        ("batch.Label", "batch.label"),
        ("bacth.label", "batch.label"),
        ("label", "batch.label"),
        ("batchlabel", "batch.label"),
        ("preds.images", "preds.image"),
        ("pred.image", "preds.image"),
        ("perds.image", "preds.image"),
        ("stpe", "step"),
        ("params.encodre.kernel", "params.encoder.kernel"),
        ("params.encoder.kernal", "params.encoder.kernel"),
        ("param.encoder.kernel", "params.encoder.kernel"),
        ("params.kernel", "params.encoder.kernel"),
        ("preds.label", "batch.label"),
        ("batch.batch.label", "batch.label"),
        ("context.step", "step"),
    ],
)
def test_the_nearest_key_is_the_one_that_was_meant(abstract_context, typo, meant):
    (problem,) = kontext.check_keys(abstract_context, {"x": typo})
    assert problem.nearest[0].path == meant


def test_parts_of_the_context_that_are_not_filled_are_missing():
    context = {"batch": {"mask": None}, "grads": None}
    with pytest.raises(KeyError, match="it is None here"):
        kontext.resolve_from_keypaths(context, {"x": "grads"})
    assert kontext.resolve_from_keypaths(context, {"x": "batch.mask"}) == {"x": None}
    assert kontext.check_keys(context, {"x": "batch.mask"}) == []
    (problem,) = kontext.check_keys(context, {"x": "gradz"})
    assert "grads" not in problem.found


def test_suggestions_search_dataclasses_and_frozen_dicts():
    @dataclasses.dataclass
    class Context:
        batch: Any
        preds: Any = None

    context = Context(batch=ImmutableDict(nested=({"image": 1},)))
    (problem,) = kontext.check_keys(context, {"x": "batch.nested[0].imgae"})
    assert problem.nearest[0].path == "batch.nested[0].image"


def test_suggestions_in_a_large_context():
    params = {
        f"layer_{i}": {f"block_{j}": {"kernel": i} for j in range(50)}
        for i in range(100)
    }
    (problem,) = kontext.check_keys(
        {"params": params}, {"x": "params.layer_37.blokc_12.kernel"}
    )
    assert problem.nearest[0].path == "params.layer_37.block_12.kernel"


def test_path_builders_record_keys():
    batch = kontext.path_builder_from("batch", Any)
    assert str(batch.image[0]["a b"].x) == "batch.image[0]['a b'].x"
    assert batch.image.__as_konfig__() == "batch.image"
    assert (
        str(kontext.path_builder_from("interms", Any).enc.__call__[0])
        == "interms.enc.__call__[0]"
    )
    assert kontext.get_by_path({"batch": {"image": 1}}, batch.image) == 1
    assert batch.image == kontext.path_builder_from("batch.image", Any)
    with pytest.raises(AttributeError):
        batch._private  # noqa: B018
    with pytest.raises(TypeError, match="iterated"):
        list(batch)


def test_annotated_path_builders_accept_only_their_names():
    class Inner(kontext.AnnotatedPathBuilder):
        depth: str

    class Batch(kontext.AnnotatedPathBuilder):
        image: str
        inner: Inner

    batch = Batch("batch")
    assert dir(batch) == ["image", "inner"]
    assert str(batch.image) == "batch.image"
    assert str(Batch("batch").image[0]) == "batch.image[0]"
    with pytest.raises(AttributeError, match="Did you mean 'image'"):
        batch.imgae  # noqa: B018


def test_importing_kontext_imports_no_array_library():
    import subprocess
    import sys

    code = (
        "import sys; from kauldron import kontext; "
        "kontext.get_by_path({'a': 1}, 'a'); kontext.check_keys({'a': 1}, {'x': 'b'}); "
        "assert not {'jax', 'numpy', 'flax', 'ml_collections'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
