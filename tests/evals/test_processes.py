"""Two real processes write, and predict, what one does."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from tests.train import processes as processes_lib

_PROGRAM = """
import sys
import jax
workdir, num_processes, index, port = sys.argv[1], *map(int, sys.argv[2:])
if num_processes > 1:
    jax.distributed.initialize(
        f"localhost:{port}", num_processes=num_processes, process_id=index
    )
from kauldron import kd
from tests.evals import test_fewshot, test_outputs
from tests.train import small_run
# 43 = 2 * 16 + 11: the rest divides neither over devices nor over processes.
# 40 = 2 * 16 + 8: the rest does.
evals = {
    name: kd.evals.Evaluator(
        run=kd.evals.Final(),
        ds=small_run.make_ds(training=False, data_source=test_outputs.Named(num)),
        outputs=kd.evals.WriteOutputs(
            keys=["preds.logits", "batch.id", "batch.name"], format=format,
            max_bytes_per_file=500,
        ),
    )
    for name, num, format in (("odd", 43, "npz"), ("even", 40, "parquet"))
}
evals["few"] = test_fewshot._evaluator(
    ds_val=test_fewshot._ds(1, num_examples=31), num_shots=[5]
)
trainer = small_run.make_trainer(
    workdir,
    num_train_steps=3,
    checkpointer=kd.ckpts.Checkpointer(save_interval_steps=3),
    evals=evals,
)
trainer.train()
predictor = kd.evals.Predictor.from_trainer(trainer, eval_name="odd")
predictor.write(f"{workdir}/preds.npz", keys=["preds.logits", "batch.name"])
"""


def _train(workdir, num_processes):
    workdir.mkdir()
    with processes_lib.start(_PROGRAM, workdir, num_processes) as processes:
        outputs = processes.finish()
    # Progress is shown by the first of them alone.
    assert ["Finished" in output for output in outputs] == [
        i == 0 for i in range(num_processes)
    ]
    return workdir


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_write_the_rows_that_one_writes(tmp_path):
    one, two = _train(tmp_path / "one", 1), _train(tmp_path / "two", 2)
    paths = {"outputs/odd": 43, "outputs/even": 40, "preds.npz": 43}
    for path, num_rows in paths.items():
        expected = kd.evals.read_outputs(one / path)
        found = kd.evals.read_outputs(two / path)
        assert set(found) == set(expected)
        assert found["preds.logits"].shape == (num_rows, 2)
        names = [f"point {i}" for i in range(num_rows)]
        assert found["batch.name"].tolist() == names
        # Sums over devices may be added in another order while training.
        np.testing.assert_allclose(
            found["preds.logits"], expected["preds.logits"], rtol=1e-4, atol=1e-5
        )
    files = {p.name for p in (two / "outputs" / "odd").iterdir()}
    assert "step_3.process_0_of_2.part_0_of_2.npz" in files
    assert {"preds.process_0_of_2.npz", "preds.process_1_of_2.npz"} <= {
        p.name for p in two.iterdir()
    }
    few = [
        [
            line
            for line in (d / "metrics.jsonl").read_text().splitlines()
            if "few" in line
        ]
        for d in (one, two)
    ]
    assert len(few[0]) == 1
    assert few[0] == few[1]


_COLLECTS = """
import sys
import jax
_, num_processes, index, port = sys.argv[1], *map(int, sys.argv[2:])
jax.distributed.initialize(
    f"localhost:{port}", num_processes=num_processes, process_id=index
)
import numpy as np
from kauldron import sharding
from kauldron.evals import example_rows, rows_in_memory
collected = rows_in_memory.InMemory()
start = 0
# The rest of a dataset is loaded whole by every process.
for size, is_whole in ((8, False), (8, False), (5, True), (1, True)):
    x, own = np.arange(start, start + size), sharding.own_rows(size)
    x, start = (x if is_whole else x[own]), start + size
    columns = {"x": x, "pair": np.stack([x, -x], axis=1)}
    collected.add(example_rows.Rows({}, columns, size, is_whole))
mine, everything = collected.columns(), collected.all_columns()
assert len(mine["x"]) < len(everything["x"]) == start
np.testing.assert_array_equal(everything["x"], np.arange(start))
np.testing.assert_array_equal(everything["pair"][:, 1], -np.arange(start))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_rows_that_two_processes_have_loaded_are_those_of_the_dataset(tmp_path):
    with processes_lib.start(_COLLECTS, tmp_path / "run", 2) as processes:
        processes.finish()
