"""A run on small cases, to be predicted: a voxel is of class 1 if it is above 0."""

import pathlib

import numpy as np

from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from kauldron import kd

SHAPE = (6, 7, 5)


def write_cases(root: pathlib.Path, num: int = 3) -> pathlib.Path:
    """Writes `case_0`, ... whose axes are not those of the world."""
    from kauldron import volumes

    rng = np.random.default_rng(0)
    direction = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    geometry = volumes.Geometry.make((2.0, 1.0, 0.5), (10.0, -20.0, 5.0), direction)
    for i in range(num):
        ct = rng.normal(size=SHAPE).astype(np.float32)
        folder = root / f"case_{i}"
        folder.mkdir(parents=True)
        for name, array in (("ct", ct), ("seg", (ct > 0).astype(np.uint8))):
            volumes.write(folder / f"{name}.mha", volumes.Image(array, geometry))
    return root


def get_config(root, workdir):
    """Returns a run of two updates with an evaluator of whole cases, `final`."""
    cfg = kd.train.Trainer()
    cfg.workdir = str(workdir)
    cfg.train_ds = _make_ds(root)
    cfg.train_ds.batch_size = 8
    cfg.train_ds.num_epochs = None
    cfg.train_ds.patches = kd.volumes.RandomPatch(size=(4, 4, 4))
    cfg.eval_ds = _make_ds(root)
    cfg.model = kd.nn.Sequential(
        inputs="batch.ct",
        outputs="logits",
        layers=[nn.Conv(4, (3, 3, 3)), nn.relu, kd.nn.Dropout(0.5), nn.Dense(2)],
    )
    cfg.num_train_steps = 2
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.seg"
        )
    }
    cfg.train_metrics = {
        "dice": kd.volumes.metrics.Dice(
            logits="preds.logits", labels="batch.seg", classes=(1,)
        )
    }
    cfg.optimizer = optax.adam(1e-2)
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1)
    cfg.evals = {
        "final": kd.volumes.CaseEvaluator(
            run=kd.evals.Once(2),
            window=kd.volumes.SlidingWindow(patch_size=(4, 4, 4), batch_size=3),
            outputs={
                "seg": kd.volumes.Output(
                    key="preds.logits",
                    like="ct",
                    post=[kd.volumes.transforms.Softmax()],
                    final=[kd.volumes.transforms.Argmax()],
                    suffix=".mha",
                )
            },
        )
    }
    return cfg


def _make_ds(root):
    # The model sees the axes of the world.
    transforms = [kd.volumes.transforms.Reorient()]
    return kd.volumes.VolumeCases(
        str(root),
        groups={
            "ct": kd.volumes.Group("ct.mha", transforms=transforms),
            "seg": kd.volumes.Group("seg.mha", transforms=transforms, is_label=True),
        },
        batch_size=1,
        num_epochs=1,
    )
