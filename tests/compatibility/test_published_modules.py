"""What published code asks of the smaller modules: utils, status, launch, dashboards."""

from __future__ import annotations

import copy
import json
import pickle
import types

import flax.linen as nn
import flax.struct
import jax
import numpy as np
import optax
import pytest
from jax.experimental import checkify

from kauldron import kd, konfig, kontext, kxm, metrics
from kauldron.utils import config_util, status_utils
from tests.train import small_run


def test_enum_iter_counts_from_the_step_it_is_given():
    enum_iter = kd.utils.utils.enum_iter
    assert list(enum_iter([1, 2])) == [(0, 1), (1, 2)]
    steps = enum_iter(iter("ab"), init_step=3, total_steps=5, desc="x", log_xm=True)
    assert list(steps) == [(3, "a"), (4, "b")]
    assert list(enum_iter([], leave=False)) == []


def test_enum_iter_shows_a_bar_on_a_terminal_only(monkeypatch, capsys):
    list(kd.utils.utils.enum_iter([1, 2], desc="reading"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(kd.utils.utils.enum_iter([1, 2], desc="reading"))[-1] == (1, 2)
    assert "reading" in capsys.readouterr().err
    list(kd.utils.utils.enum_iter([1, 2], desc="reading", disable=True))
    assert capsys.readouterr().err == ""


def test_lists_of_json_become_tuples_at_any_depth():
    value = json.loads('{"a": [1, [2, {"b": [3]}]], "c": "text"}')
    expected = {"a": (1, (2, {"b": (3,)})), "c": "text"}
    assert kd.utils.utils.json_list_to_tuple(value) == expected


def test_checkify_ignore_drops_checks_so_that_jit_can_trace():
    def halve(x):
        checkify.check(x > 0, "not positive")
        return x / 2

    with pytest.raises(ValueError, match="checkify"):
        jax.jit(halve)(-3.0)
    assert jax.jit(kd.utils.utils.checkify_ignore(halve))(-3.0) == -1.5


def test_status_says_where_the_program_runs():
    assert kd.utils.status.on_xmanager is False
    assert kd.utils.status.is_lead_host is True


@pytest.mark.parametrize("name", ["xp", "wu", "wid", "xid"])
def test_what_only_xmanager_knows_raises_and_names_the_workdir(name):
    with pytest.raises(RuntimeError, match=f"`status.{name}` is .*trainer.workdir"):
        getattr(status_utils.status, name)


def test_status_prints_to_stderr(capsys):
    kd.utils.status.log("one")
    kd.utils.status.log_status("two")
    kd.utils.status.warn("three")
    assert capsys.readouterr().err == "one\ntwo\nWarning: three\n"


def _sweep_module():
    def get_config():
        return konfig.ConfigDict({"lr": 0.1, "depth": 1})

    def sweep():
        yield {"lr": 1.0}
        yield {"lr": 2.0}

    def sweep_depth():
        yield {"depth": 5}

    module = types.ModuleType("my_sweep")
    vars(module).update(get_config=get_config, sweep=sweep, sweep_depth=sweep_depth)
    return module


def test_a_notebook_goes_through_the_configs_of_a_sweep():
    module, colab = _sweep_module(), kd.utils.colab
    rates = [cfg.lr for _, cfg in colab.iter_sweep_configs(module)]
    assert rates == [1.0, 2.0]
    ((overrides, cfg),) = colab.iter_sweep_configs(module, sweep="depth")
    assert overrides == {"depth": 5} and (cfg.depth, cfg.lr) == (5, 0.1)
    first = list(colab.iter_sweep_configs(module, mode=colab.SweepMode.FIRST))
    assert [o for o, _ in first] == [{"lr": 1.0}]
    ((overrides, cfg),) = colab.iter_sweep_configs(module, mode="none")
    assert overrides == {} and cfg.lr == 0.1


@pytest.fixture
def workdir(tmp_path):
    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = konfig.ConfigDict({"loss": lazy_kd.losses.L2(preds="a.b", targets="a.c")})
    (tmp_path / "config.json").write_text(cfg.to_json())
    return tmp_path


@pytest.mark.parametrize("lazy", [False, True])
def test_the_config_of_a_run_is_read_from_its_workdir(workdir, lazy):
    cfg = kd.xm.load_config_from_path(workdir, lazy=lazy)
    assert cfg.loss.preds == "a.b" and cfg.workdir == str(workdir)
    assert konfig.resolve(cfg)["loss"] == kd.losses.L2(preds="a.b", targets="a.c")


def test_a_config_that_fits_no_more_is_told_unless_lazy(workdir):
    text = (workdir / "config.json").read_text().replace('"preds"', '"pred"')
    (workdir / "config.json").write_text(text)
    assert kd.xm.load_config_from_path(workdir, lazy=True).loss.pred == "a.b"
    with pytest.raises(ValueError, match="Did you mean 'preds'"):
        kd.xm.load_config_from_path(workdir)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kd.xm.Experiment.from_xid(3), "load_config_from_path"),
        (kd.xm.WorkUnit, "load_config_from_path"),
        (lambda: kd.xm.add_tags_to_xm("a"), "cfg.aux"),
        (kd.xm.add_log_artifacts, "cfg.aux"),
        (kd.xm.add_colab_artifacts, "cfg.aux"),
        (lambda: kd.from_xid.get_cfg(3, 2), r"3/2 .*workdirs.load_config"),
        (lambda: kd.from_xid.get_resolved(3, path="model"), "get_resolved.*'model'"),
        (lambda: kd.from_xid.get_workdir(3), "3/1"),
        (lambda: kd.from_xid.get_element_spec(3), "workdirs.get_element_spec"),
        (lambda: kd.contrib.nn.get_model_from_xid(3), "workdirs.get_resolved"),
        (lambda: kxm.Experiment().launch(), "kauldron launch"),
    ],
)
def test_what_needs_xmanager_says_what_does_it_here(call, words):
    with pytest.raises(RuntimeError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kd.contrib.checkpoints.PartialCLULoader("x"), "SafetensorsLoader"),
        (kd.contrib.train.MLFlowMetricWriter, "kd.tracking.MLflow"),
    ],
)
def test_what_needs_another_library_names_the_alternative(call, words):
    with pytest.raises(NotImplementedError, match=words):
        call()


def test_launch_descriptions_have_defaults_of_their_own():
    job = kxm.Job()
    assert job.platform is None and job.priority == 200 and job.args == {}
    assert job.debug.jax_log_compiles is True
    job.args["seed"] = 1
    assert kxm.Job().args == {}  # the defaults are not shared
    assert kxm.Experiment().subdir_format.wu_dirname == "{wid}"


def test_launch_descriptions_keep_what_they_are_given():
    job = kxm.Job(platform="a100=1", unknown_to_us=3)
    assert job.unknown_to_us == 3
    assert repr(job) == "kxm.Job(platform='a100=1', unknown_to_us=3)"
    assert job.replace(cell="x") == kxm.Job(
        platform="a100=1", unknown_to_us=3, cell="x"
    )
    assert pickle.loads(pickle.dumps(job)) == copy.deepcopy(job) == job != kxm.Job()
    with pytest.raises(AttributeError, match="Did you mean 'platform'"):
        _ = job.plattform
    with pytest.raises(TypeError, match="keyword arguments"):
        kxm.Job("a100=1")


def test_sweeps_have_items_and_a_length():
    sweep = kxm.SimpleSweep([{"seed": 1}, {"seed": 2}])
    assert len(sweep) == 2
    assert [item.job_kwargs for item in sweep] == [{"seed": 1}, {"seed": 2}]
    assert len(kxm.SimpleSweep(lambda: [{"a": 1}] * 3)) == 3
    assert [item.job_kwargs for item in kxm.NoSweep()] == [{}]
    of_config = kxm.KauldronSweep(source=_sweep_module(), names="default,depth")
    expected = [{"lr": 1.0, "depth": 5}, {"lr": 2.0, "depth": 5}]
    assert [item.job_kwargs for item in of_config] == expected


def test_jobs_of_a_config_are_the_training_and_the_groups_of_evaluators():
    with konfig.imports():
        from kauldron import kd as lazy_kd
        from kauldron import kxm as lazy_kxm
    standalone = lazy_kd.evals.StandaloneEveryCheckpoint
    cfg = konfig.ConfigDict(
        {
            "xm_job": lazy_kxm.Job(platform="a100=1"),
            "evals": {
                "a": {"run": standalone(job_group="slow")},
                "b": {"run": standalone(job_group="slow")},
                "c": {"run": standalone()},
                "d": {"run": lazy_kd.evals.Once(0)},
            },
        }
    )
    jobs = kxm.KauldronJobs(config=cfg).jobs
    assert jobs["train"].platform == "a100=1"
    names = {k: job.args for k, job in jobs.items() if k != "train"}
    assert names == {"slow": {"eval_names": "a,b"}, "c": {"eval_names": "c"}}


def test_placeholders_of_folders_are_appended_to():
    assert str(kxm.WU_DIR_PROXY / "logs" / "a.txt") == "{wu_dir}/logs/a.txt"
    assert kxm.XP_DIR_PROXY / "a" == kxm.XP_DIR_PROXY / "a" != kxm.WU_DIR_PROXY / "a"


def test_dashboards_of_one_name_are_merged():
    kdash = kd.kdash
    pages = kdash.MultiDashboards.from_iterable(
        [
            kdash.MetricDashboards(collection="train", losses={"a": 1, "b": 2}),
            kdash.MetricDashboards(collection="eval", losses={"a": 1}),
            kdash.SingleDashboard(name="losses", plots=[kdash.Plot(y_key="extra")]),
            kdash.NoopDashboard(),
        ]
    )
    plots = pages.dashboards["losses"].plots
    keys = [(p.y_key, *p.collections) for p in plots]
    assert keys == [
        ("losses/a", "train"),
        ("losses/b", "train"),
        ("losses/total", "train"),
        ("losses/a", "eval"),
        ("extra",),
    ]
    overview = pages.add_overview_dashboard()
    assert list(overview.dashboards) == ["overview", "losses"]
    assert overview.add_overview_dashboard() is overview
    with pytest.raises(ValueError, match=r"named 'losses' differ in `title`"):
        kdash.MultiDashboards.from_iterable(
            [pages, kdash.SingleDashboard(name="losses", title="Other")]
        )
    with pytest.raises(ValueError, match="tensorboard"):
        kdash.build_and_upload(pages)


def test_step_specs_of_a_trainer_are_traced_and_nothing_is_computed(tmp_path):
    kd.testing.assert_step_specs(small_run.make_trainer(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_step_that_changes_a_dtype_is_found(tmp_path):
    class Widening(nn.Module):
        x: kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            count = self.variable("stats", "count", lambda: np.zeros((), np.int32))
            if not self.is_initializing():
                count.value = count.value + 0.5
            return {"logits": nn.Dense(2)(x)}

    trainer = small_run.make_trainer(tmp_path, model=Widening())
    with pytest.raises(AssertionError, match=r"collections\.stats\.count"):
        kd.testing.assert_step_specs(trainer)


@pytest.mark.usefixtures("unchecked")
def test_a_model_that_raises_does_so_in_the_check(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        optimizer=optax.sgd(0.1),
        train_losses={"x": kd.losses.L2(preds="preds.logits", targets="batch.x")},
    )
    with pytest.raises(ValueError, match="same shape"):
        kd.testing.assert_step_specs(trainer)


def test_trees_of_other_types_or_structures_are_told_apart():
    same = kd.testing.assert_utils.assert_trees_all_same_type
    same({"a": np.zeros(2)}, {"a": np.ones(3)})
    with pytest.raises(AssertionError, match="leaves at a differ in type"):
        same({"a": np.zeros(2)}, {"a": jax.numpy.zeros(2)})
    with pytest.raises(AssertionError, match="another structure"):
        same({"a": 1}, {"b": 1})


class _Bound(config_util.UpdateFromRootCfg):
    pass


def test_published_names_of_parameters_work_by_keyword():
    key = jax.random.PRNGKey(0)
    folded = kd.random.fold_in_str(key=key, data="dropout")
    # The first four bytes of what `printf dropout | sha1sum` prints.
    assert np.array_equal(folded, jax.random.fold_in(key, 0xFACA6EB1))
    loss = kd.losses.L2(preds="a", targets="b")
    assert kontext.get_keypaths(keyed_obj=loss)["preds"] == "a"
    found = kontext.resolve_from_keyed_obj(
        context={"a": 1, "b": 2, "step": 0}, keyed_obj=loss
    )
    assert found == {"preds": 1, "targets": 2, "step": 0}
    assert isinstance(_Bound().update_from_root_cfg(root_cfg=None), _Bound)


def test_the_old_name_of_the_batch_sharding_names_the_new_one():
    with pytest.raises(DeprecationWarning, match=r"sharding\.batch"):
        _ = kd.sharding.ShardingStrategy().ds


@flax.struct.dataclass
class _Counter(metrics.AutoState):
    total: int = metrics.sum_field(default=0)
    scale: int = metrics.static_field(default=3)


def test_an_empty_state_has_no_static_values_either():
    empty = _Counter.empty()
    assert repr(empty.scale) == repr(empty.total) == "EMPTY"
    merged = empty.merge(_Counter(total=2, scale=5)).merge(_Counter.empty())
    assert (merged.total, merged.scale) == (2, 5)
    with pytest.raises(ValueError, match="Static fields must be equal"):
        _Counter(total=2, scale=5).merge(_Counter(total=2))
