"""Make yamnet.safetensors of the weights that Google publishes for Keras.

    curl -O https://storage.googleapis.com/audioset/yamnet.h5
    python yamnet_weights.py yamnet.h5

Batch norms, which have no scale and an epsilon of 1e-4, are folded into the convolutions.
"""

import sys

import h5py
import numpy as np
from safetensors.numpy import save_file

EPSILON = 1e-4
weights = {}


def keep(path, found):
    """Take a dataset by its path, such as /layer1/conv/layer1/conv/kernel:0."""
    if isinstance(found, h5py.Dataset):
        weights[f"/{path.removesuffix(':0')}"] = found[()]


def weight(name):
    """The one array whose path ends with a layer's name and what it is."""
    found = [value for path, value in weights.items() if path.endswith(f"/{name}")]
    if len(found) != 1:
        sys.exit(f"{sys.argv[1]} holds {len(found)} arrays called {name}, not one: is it YAMNet's?")
    return found[0]


def folded(layer, kernel="kernel"):
    """Weight (out, in, h, w) and bias of a convolution and its batch norm."""
    scale = 1 / np.sqrt(weight(f"{layer}/bn/moving_variance") + EPSILON)
    bias = weight(f"{layer}/bn/beta") - weight(f"{layer}/bn/moving_mean") * scale
    axes = (2, 3, 0, 1) if kernel == "depthwise_kernel" else (3, 2, 0, 1)
    return weight(f"{layer}/{kernel}").transpose(axes) * scale[:, None, None, None], bias


with h5py.File(sys.argv[1]) as file:
    file.visititems(keep)
if any(path.endswith("/gamma") for path in weights):
    sys.exit(f"{sys.argv[1]} has batch norms with a scale, which YAMNet's lack")
layers = {"conv0": folded("layer1/conv")}
for i in range(1, 14):
    layers[f"block{i}.depthwise"] = folded(f"layer{i + 1}/depthwise_conv", "depthwise_kernel")
    layers[f"block{i}.pointwise"] = folded(f"layer{i + 1}/pointwise_conv")
(kernel,) = (w for w in weights.values() if w.shape == (1024, 521))
(bias,) = (w for w in weights.values() if w.shape == (521,))
layers["classifier"] = kernel.T, bias
named = {
    f"{name}.{part}": np.ascontiguousarray(value, np.float32)
    for name, parts in layers.items()
    for part, value in zip(("weight", "bias"), parts, strict=True)
}
save_file(named, "yamnet.safetensors")
