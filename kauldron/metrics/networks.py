"""Pretrained networks of perceptual metrics, and their weights.

The published weights are converted once, where they were downloaded:

```python
state = lpips.LPIPS(net="vgg").state_dict()
arrays = {name: tensor.numpy() for name, tensor in state.items()}
networks.save("lpips_vgg.npz", networks.convert_lpips_vgg(arrays))
```
"""

from __future__ import annotations

from kauldron.metrics._inception import convert_inception, inception_features
from kauldron.metrics._vgg import convert_lpips_vgg, lpips_vgg
from kauldron.metrics._weights import WeightsError, WeightsNotFoundError, save

__all__ = [
    "WeightsError",
    "WeightsNotFoundError",
    "convert_inception",
    "convert_lpips_vgg",
    "inception_features",
    "lpips_vgg",
    "save",
]
