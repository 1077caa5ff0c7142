"""What is annotated, and that the annotations of the package are checked in tests."""

from __future__ import annotations

import ast
import collections
import inspect
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import ktyping as kt
from kauldron import losses, metrics, summaries
from tests.metrics import contract

_PACKAGE = pathlib.Path(losses.__file__).parents[1]


def _arguments(tree: ast.Module) -> Iterator[ast.arg]:
    """Yields the arguments of all functions, but `self`, `cls`, `*args`, `**kwargs`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            args = node.args
            for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs):
                if arg.arg not in ("self", "cls"):
                    yield arg


def _says_nothing(arg: ast.arg) -> bool:
    is_any = isinstance(arg.annotation, ast.Name) and arg.annotation.id == "Any"
    return arg.annotation is None or is_any


def _count_by_room() -> dict[str, tuple[int, int]]:
    """Returns room -> number of arguments that say nothing, and of all."""
    counts = collections.defaultdict(list)
    for file in sorted(_PACKAGE.rglob("*.py")):
        room = file.relative_to(_PACKAGE).parts[0]
        tree = ast.parse(file.read_text())
        counts[room] += map(_says_nothing, _arguments(tree))
    return {room: (sum(says), len(says)) for room, says in counts.items()}


def test_few_arguments_of_the_package_may_be_anything():
    counts = _count_by_room()
    report = "\n".join(f"{room}: {n} of {of}" for room, (n, of) in counts.items() if n)
    num_any, num = map(sum, zip(*counts.values(), strict=True))
    assert num_any < 0.15 * num, f"{num_any} of {num} are `Any`:\n{report}"


def _members():
    for room in (losses, metrics, summaries):
        for name in room.__all__:
            member = getattr(room, name)
            if isinstance(member, type) and issubclass(member, metrics.Metric):
                yield member


def _takes_arrays(func) -> bool:
    parameters = list(inspect.signature(func).parameters.values())[1:]
    return any(p.kind is not p.VAR_KEYWORD for p in parameters)


@pytest.mark.parametrize("member", list(_members()), ids=lambda m: m.__name__)
def test_members_say_what_they_take(member):
    for name in ("get_values", "get_state"):
        func = getattr(member, name, None)
        if func is None or not _takes_arrays(func):
            continue
        for parameter in list(inspect.signature(func).parameters.values())[1:]:
            is_star = parameter.kind in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            assert is_star or parameter.annotation not in ("Any", parameter.empty)
        assert _is_checked(func), f"{func.__qualname__} lacks `@typechecked`"


def _is_checked(func) -> bool:
    while func is not None:
        if func.__code__.co_filename.endswith("_typechecked.py"):
            return True
        func = getattr(func, "__wrapped__", None)
    return False


def test_a_wrong_array_is_told_by_the_name_of_the_argument():
    accuracy = metrics.Accuracy(logits="l", labels="t")
    logits, labels = np.zeros((8, 10), np.float32), np.zeros((4, 1), np.int32)
    with pytest.raises(kt.KTypeCheckError) as error:
        accuracy.get_state(logits=logits, labels=labels)
    message = str(error.value)
    assert (
        "`logits` of `Accuracy.get_state` does not fit Array['*b classes']" in message
    )
    assert "*b is (4,) (from `labels`), here (8,)" in message
    assert "Got f32[8,10]" in message


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (losses.SoftmaxCrossEntropyWithIntLabels, jnp.zeros((4, 1), jnp.float32)),
        (losses.FocalLoss, np.zeros((4, 2), np.int32)),
        (losses.Hinge, np.zeros((4, 1))),
    ],
)
def test_wrong_labels_of_losses_are_told(loss, labels):
    with pytest.raises(kt.KTypeCheckError, match="`labels` of"):
        loss(logits="l", labels="t").get_values(jnp.zeros((4, 3)), labels)


def test_fields_of_a_state_that_are_not_as_annotated_are_seen():
    right = metrics.ConfusionMatrix.State(counts=np.zeros((3, 4)))
    contract.look_at_fields(right)
    wrong = metrics.ConfusionMatrix.State(counts=np.zeros((3, 3)))
    with pytest.raises(kt.KTypeCheckError, match=r"classes\+1 is 4 with classes=3"):
        contract.look_at_fields(wrong)


@pytest.mark.parametrize(("value", "is_checked"), [("1", "False"), ("all", "True")])
def test_functions_of_the_package_are_themselves_unless_checks_are_asked_for(
    value, is_checked
):
    program = (
        "from kauldron import losses, ktyping as kt\n"
        "print(hasattr(losses.L2.get_values, '__wrapped__'))\n"
        "@kt.typechecked\n"
        "def f(x: kt.Float['n']): ...\n"
        "assert hasattr(f, '__wrapped__')\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KAULDRON_TYPECHECKING": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == is_checked
