"""`Call`: what is asked of an app, and what it is told when the app cannot do it."""

from __future__ import annotations

import json

import pytest

from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from tests.apps.bundles import made

_FULL = Call(
    verb="pipeline",
    inputs={"t1": ("a, b.nii.gz", "c.nii.gz"), "t2": ("d.nii", "e.nii")},
    references={"tissue": ("f.mha", "g.mha")},
    masks=("m.nii", "n.nii"),
    ensemble=("fold_2", "fold_0"),
    tta=2,
    mc=3,
    with_uncertainty=True,
    overrides={"evals.eval.window.overlap": 0.5},
)
_FINE_TUNE = Call(
    verb="fine-tune", data="new", steps=10, learning_rate=1e-4, name="mine"
)


@pytest.mark.parametrize("call", [_FULL, _FINE_TUNE, Call(verb="infer", ensemble=2)])
def test_json_holds_a_call(call):
    assert Call.from_json(json.loads(json.dumps(call.to_json()))) == call


def test_a_call_that_the_app_can_do_is_kept():
    assert _FULL.check(made.manifest()) == _FULL
    assert _FINE_TUNE.check(made.manifest()) == _FINE_TUNE


def test_the_unnamed_input_is_the_first():
    call = Call(verb="infer", inputs={"": ("a.nii",)}).check(made.manifest())
    assert call.inputs == {"t1": ("a.nii",)}


def test_members_are_all_the_first_or_those_named():
    manifest = made.manifest()
    assert Call(verb="infer").members(manifest) == ("fold_0", "fold_1", "fold_2")
    assert Call(verb="infer", ensemble=2).members(manifest) == ("fold_0", "fold_1")
    assert _FULL.members(manifest) == ("fold_2", "fold_0")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"verb": "inferr"}, "Did you mean 'infer'"),
        ({"inputs": {"T1": ("a.nii",)}}, r"no input 'T1': .* Did you mean 't1'"),
        ({"inputs": {"t2": ("a.nii",)}}, "needs the input 't1'"),
        ({"inputs": {"t1": ("a.docx",)}}, r"of the kind 'volume'.*got 'a\.docx'"),
        (
            {"inputs": {"t1": ("a.nii", "b.nii"), "t2": ("c.nii",)}},
            r"equally many: got \{'t1': 2, 't2': 1\}",
        ),
        ({"references": {"tissue": ("a.nii",)}}, "no meaning for 'infer'"),
        ({"steps": 3}, "no meaning for 'infer'"),
        ({"ensemble": 4}, "1 to 3 for the app 'tissues': got 4"),
        ({"ensemble": 0}, "1 to 3 for the app 'tissues': got 0"),
        ({"ensemble": ("fold_9",)}, "no member 'fold_9'"),
        ({"ensemble": ("fold_1", "fold_1")}, "each once"),
        ({"tta": 3}, "up to 2 augmented copies: got `tta=3`"),
        ({"tta": -1}, "up to 2 augmented copies: got `tta=-1`"),
        ({"mc": 9}, "up to 8 draws of dropout: got `mc=9`"),
        ({"overrides": {"workdir": "/x"}}, r"does not let a call set `cfg\.workdir`"),
    ],
)
def test_what_the_app_cannot_do_is_told(changes, match):
    call = Call(**{"verb": "infer", "inputs": {"t1": ("a.nii",)}, **changes})
    with pytest.raises(AppError, match=match):
        call.check(made.manifest())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"steps": None}, "--steps=100"),
        ({"data": None}, "--data=FOLDER"),
        ({"learning_rate": -1.0}, "greater than 0"),
        ({"mc": 1}, "no meaning for 'fine-tune'"),
        ({"name": "../mine"}, r"Names of apps .* got '\.\./mine'"),
    ],
)
def test_what_a_fine_tuning_needs_is_told(changes, match):
    call = Call(**{"verb": "fine-tune", "steps": 3, "data": "x", **changes})
    with pytest.raises(AppError, match=match):
        call.check(made.manifest())


@pytest.mark.parametrize("verb", ["uncertainty", "pipeline"])
def test_uncertainty_needs_more_than_one_prediction(verb):
    asked = {"verb": verb, "inputs": {"t1": ("a.nii",)}, "ensemble": 1}
    asked["with_uncertainty"] = verb == "pipeline"
    single = Call(**asked)
    told = r"ask for some, with `--mc` \(up to 8\), `--tta` \(up to 2\)"
    with pytest.raises(AppError, match=told):
        single.check(made.manifest())
    for more in ({"mc": 2}, {"tta": 1}, {"ensemble": 2}, {"ensemble": None}):
        Call(**{**asked, **more}).check(made.manifest())
    with pytest.raises(AppError, match="ask for some"):  # one draw is one prediction
        Call(**{**asked, "mc": 1}).check(made.manifest())


def test_code_that_is_not_trusted_is_named_with_what_runs_it():
    manifest = made.manifest(trusted=("mine",), trusted_to_train=("ours",))
    with pytest.raises(AppError, match=r"^The app 'tissues' runs code of 'mine',"):
        manifest.check_trusted("infer")
    manifest.check_trusted("infer", ["mine"])
    with pytest.raises(AppError, match=r"^The training of the app .* of 'ours',"):
        manifest.check_trusted("fine-tune", ["mine"])


def test_a_call_is_moved_into_a_folder():
    moved = Call(verb="infer", inputs={"t1": ("a", "b/c")}, masks=("d",), data="e")
    assert moved.inside("/x") == Call(
        verb="infer", inputs={"t1": ("/x/a", "/x/b/c")}, masks=("/x/d",), data="/x/e"
    )


def test_an_evaluation_needs_references_where_the_app_has_them():
    call = Call(verb="evaluate", inputs={"": ("a.nii",)})
    with pytest.raises(AppError, match="--reference=tissue=FILE"):
        call.check(made.manifest())


def test_a_verb_that_the_app_lacks_is_told_with_those_it_has():
    with pytest.raises(AppError, match=r"cannot evaluate: it can \['infer'\]"):
        Call(verb="evaluate").check(made.manifest(verbs=("infer",)))


def test_files_without_a_suffix_and_folders_may_be_dicom():
    call = Call(verb="infer", inputs={"t1": ("series", "IM0001")})
    assert call.check(made.manifest()).inputs == {"t1": ("series", "IM0001")}


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ([], "the call must be an object"),
        ({}, "lacks 'verb'"),
        ({"verb": "infer", "ttaa": 1}, "Did you mean 'tta'"),
        ({"verb": "infer", "tta": "1"}, "'tta' of the call must be a whole number"),
        ({"verb": "infer", "inputs": {"t1": "a.nii"}}, "must be a list"),
        ({"verb": "infer", "inputs": {"t1": [3]}}, "must be a list of texts"),
        ({"verb": "infer", "ensemble": "all"}, "must be a whole number"),
        ({"verb": "infer", "ensemble": True}, "must be a number"),
    ],
)
def test_json_that_is_no_call_is_told(entry, match):
    with pytest.raises(AppError, match=match):
        Call.from_json(entry)


def test_arguments_are_those_of_the_command():
    assert _FULL.to_arguments("app", "out", progress="lines") == [
        *("apps", "pipeline", "app"),
        *("--input=t1=a, b.nii.gz", "--input=t1=c.nii.gz"),
        *("--input=t2=d.nii", "--input=t2=e.nii"),
        *("--reference=tissue=f.mha", "--reference=tissue=g.mha"),
        *("--mask=m.nii", "--mask=n.nii", "--member=fold_2", "--member=fold_0"),
        *("--tta=2", "--mc=3", "--with_uncertainty"),
        *("--cfg.evals.eval.window.overlap=0.5", "--out=out", "--progress=lines"),
    ]
