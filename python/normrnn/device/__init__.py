"""NVIDIA GPUs: which there are, and arrays on them.

`forward`, `backward`, `update` and `init_state` work on arrays in a GPU's memory as they do on
NumPy's, if normrnn was built with ``-DNORMRNN_CUDA=ON``. Arrays may come from PyTorch, CuPy or
anything else that has ``__cuda_array_interface__`` or DLPack; what comes back is of the same
library, else `DeviceArray`. Nothing is copied or converted on the way: arrays are C-contiguous,
float32 or float64.
"""

from normrnn._core import DeviceArray
from normrnn.device.places import device_count, device_name, release_memory, synchronize, to_device

__all__ = [
    "DeviceArray",
    "device_count",
    "device_name",
    "release_memory",
    "synchronize",
    "to_device",
]
