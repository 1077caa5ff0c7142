"""Tissues of the brain as an app: a volume in, labels on its grid out, and their doubt.

    kauldron data fetch mni
    kauldron train --cfg=examples/app_brain.py --cfg.workdir=runs/brain
    kauldron apps bundle --workdir=runs/brain --out=brain_app --labels=1=fluid,2=grey,3=white
    kauldron apps infer brain_app --input=t1.nii.gz --tta=1 --out=out
    kauldron apps uncertainty brain_app --input=t1.nii.gz --tta=1 --out=doubt
    kauldron apps serve --apps=brain_app --port=8002

It is the run of `examples/volumes_segmentation.py`, and its evaluator can predict a mirror
image, too: the brain has two halves. What the app needs of the run, the intensities that
are scaled, the sliding window and the way back to the grid of the file, goes along.
"""

from kauldron import konfig

with konfig.imports():
    from kauldron import kd

from examples import volumes_segmentation


def get_config():
    cfg = volumes_segmentation.get_config()
    cfg.evals["eval"].augment = kd.volumes.augment.Augment(
        [kd.volumes.augment.Flip(axes=(2,))], copies=1
    )
    # While training, a case is predicted once.
    cfg.evals["eval"].run = kd.evals.Once(cfg.ref.num_train_steps)
    return cfg
