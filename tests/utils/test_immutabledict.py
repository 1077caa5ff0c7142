"""`ImmutableDict`: a dict that cannot change, an ordered pytree."""

from __future__ import annotations

import pickle
import subprocess
import sys

import jax
import pytest

from kauldron._base import frozen_dict
from kauldron.utils import immutabledict

ImmutableDict = immutabledict.ImmutableDict


def test_keys_are_attributes():
    d = ImmutableDict({"a": 1, "b": {"c": 2}})
    assert d.a == 1
    assert not hasattr(d, "z")
    with pytest.raises(AttributeError, match="Did you mean 'a'"):
        _ = d.A


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 2),
        lambda d: d.update(a=2),
        lambda d: d.pop("a"),
        lambda d: setattr(d, "a", 2),
        lambda d: d.__delitem__("a"),
        lambda d: d.__ior__({"a": 2}),
    ],
)
def test_it_cannot_be_changed(change):
    d = ImmutableDict({"a": 1})
    with pytest.raises(TypeError, match="cannot be changed"):
        change(d)
    assert d == {"a": 1}


def test_order_survives_tree_map():
    d = ImmutableDict({"z": 1, "a": 2, "m": 3})
    mapped = jax.tree.map(lambda x: x * 10, d)
    assert isinstance(mapped, ImmutableDict)
    assert list(mapped.items()) == [("z", 10), ("a", 20), ("m", 30)]


def test_paths_are_those_of_a_dict():
    [(path, leaf)] = jax.tree_util.tree_leaves_with_path(ImmutableDict({"a": 5}))
    assert path == (jax.tree_util.DictKey("a"),)
    assert leaf == 5


def test_it_hashes_and_pickles():
    d = ImmutableDict({"a": 1, "b": (2, 3)})
    assert hash(d) == hash(ImmutableDict({"b": (2, 3), "a": 1}))
    assert pickle.loads(pickle.dumps(d)) == d
    assert type(pickle.loads(pickle.dumps(d))) is ImmutableDict


def test_freeze_and_unfreeze_are_inverse():
    tree = {"a": [1, {"b": 2}], "c": {"d": 3}}
    frozen = frozen_dict.freeze(tree)
    assert frozen.a[1].b == 2
    assert frozen_dict.unfreeze(frozen) == {"a": (1, {"b": 2}), "c": {"d": 3}}


def test_it_becomes_a_pytree_although_the_module_imports_no_jax():
    program = (
        "import sys; from kauldron.utils.immutabledict import ImmutableDict as D; "
        "assert 'jax' not in sys.modules; import jax; "
        "print(jax.tree.leaves(D(b=1, a=2)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[2, 1]"


def test_it_goes_to_worker_processes_though_its_published_module_was_never_imported():
    write = """
import sys
import cloudpickle
from kauldron._base import frozen_dict
made = frozen_dict.freeze({"a": 1})
assert "kauldron.utils.immutabledict" not in sys.modules
sys.stdout.buffer.write(cloudpickle.dumps(made))
"""
    read = """
import pickle
import sys
from kauldron._base import frozen_dict
made = pickle.loads(sys.stdin.buffer.read())
assert type(made) is frozen_dict.ImmutableDict and made == {"a": 1}
"""
    command = [sys.executable, "-c"]
    written = subprocess.run([*command, write], check=True, stdout=subprocess.PIPE)
    subprocess.run([*command, read], check=True, input=written.stdout)
