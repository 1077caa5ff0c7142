"""An autoencoder that is judged along its training by how well a readout does on it.

    kauldron train --cfg=examples/digits_train_evaluator.py --cfg.workdir=runs/judged

Every 250 steps a readout is trained for 100 steps on what the code is then, and what it
reaches is logged as `readout_eval`. The autoencoder does not notice.
"""

from typing import Any

from examples import digits_autoencoder, digits_readout
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg: Any = digits_autoencoder.get_config()
    readout = digits_readout.get_config()
    del readout.aux, readout.init_transform  # the model comes from this run
    cfg.evals["readout"] = kd.contrib.evals.TrainEvaluator(
        run=kd.evals.EveryNSteps(250),
        readout_config=readout,
        stop_after_steps_schedule_fn=kd.contrib.evals.constant_stop_after_steps(100),
    )
    return cfg
