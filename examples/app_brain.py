"""Tissues of the brain as an app: a volume in, labels on its grid out, and their doubt.

    kauldron data fetch mni
    kauldron train --cfg=examples/app_brain.py --cfg.workdir=runs/brain
    kauldron apps bundle --workdir=runs/brain --out=brain_app --labels=1=fluid,2=grey,3=white
    kauldron apps infer brain_app --input=t1.nii.gz --tta=1 --out=out
    kauldron apps uncertainty brain_app --input=t1.nii.gz --tta=1 --out=doubt
    kauldron apps serve --apps=brain_app --port=8002

It is the run of `examples/volumes_segmentation.py`, whose evaluator also predicts a mirror
image: the brain has two halves. What the app needs of the run, the intensities that are
scaled, the sliding window and the way back to the grid of the file, goes along.
"""

from examples import volumes_segmentation


def get_config():
    return volumes_segmentation.get_config()
