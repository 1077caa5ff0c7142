"""Methods under their old names: still taken, still callable, with a warning, for a while."""

from __future__ import annotations

import pytest

import kauldron
from kauldron import kd
from kauldron._base import deprecation
from tests.train import small_run


@deprecation.rename_methods({"_work": "work"}, removed_in="9.0")
class Base:
    def work(self):
        return ["base"]

    def run(self):
        return self.work()


def test_a_subclass_may_define_the_old_name():
    with pytest.warns(DeprecationWarning, match=r"`Old\._work` is spelled `work` now"):

        class Old(Base):
            def _work(self):
                with pytest.warns(DeprecationWarning, match=r"gone in version 9\.0"):
                    return [*super()._work(), "old"]

    assert Old().run() == ["base", "old"]


def test_the_old_name_calls_what_a_subclass_defines_under_the_new_one():
    class New(Base):
        def work(self):
            return [*super().work(), "new"]

    class Newer(New):
        pass

    with pytest.warns(DeprecationWarning, match="spelled `work`"):
        assert Newer()._work() == ["base", "new"]
    assert Newer().run() == ["base", "new"]


def test_a_class_that_uses_new_names_alone_is_not_warned(recwarn):
    class New(Base):
        def work(self):
            return super().work()

    New().run()
    assert not recwarn.list


def test_a_step_of_an_earlier_release_trains_as_it_did(tmp_path):
    with pytest.warns(DeprecationWarning, match=r"Halved\._compute_grads"):

        class Halved(kd.train.TrainStep):
            def _compute_grads(self, context):
                with pytest.warns(DeprecationWarning, match="compute_grads"):
                    grads, context = super()._compute_grads(context)
                return _halve(grads), context

    class Halves(kd.train.TrainStep):
        def compute_grads(self, context):
            grads, context = super().compute_grads(context)
            return _halve(grads), context

    def train(step, name):
        state, _ = small_run.make_trainer(
            tmp_path / name, trainstep=step, num_train_steps=2
        ).train()
        return small_run.state_hash(state.params)

    plain = train(kd.train.TrainStep(), "plain")
    assert train(Halved(), "old") == train(Halves(), "new") != plain


def _halve(tree):
    import jax

    return jax.tree.map(lambda x: x / 2, tree)


def test_old_names_are_gone_when_they_were_promised_to_be():
    def parts(version):
        return tuple(int(part) for part in version.split("."))

    for renaming in deprecation.RENAMINGS:
        assert parts(kauldron.__version__) < parts(renaming.removed_in), renaming
