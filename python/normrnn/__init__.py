"""normrnn: recurrent networks held in check by norms, trained by a fused C++ core.

>>> import numpy as np, normrnn as nr
>>> params = nr.init_params("gru", input_size=4, hidden_size=8, output_size=1)
>>> x, target = np.ones((20, 2, 4), np.float32), np.zeros((20, 2, 1), np.float32)
>>> out = nr.forward("gru", x, params)
>>> loss, dy = nr.squared_error(nr.head_forward(out.y, params), target)
>>> dh, head_grads = nr.head_backward(out.y, dy, params)
>>> grads = nr.backward(out.tape, dh)
>>> info = nr.update(params, grads.params | head_grads, rule=nr.SGD(lr=0.01), penalty=nr.L2(1e-4))
"""

from importlib.metadata import version

from normrnn import (
    _threadpoolctl,
    device,
    diagnostics,
    penalties,
    plots,
    rules,
    selection,
    state_penalties,
)
from normrnn.config import get_num_threads, set_num_threads, show_config
from normrnn.dropout import Dropout
from normrnn.frozen import FrozenParams, freeze
from normrnn.functional import (
    backward,
    forward,
    head_backward,
    head_forward,
    init_params,
)
from normrnn.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from normrnn.monitor import Monitor
from normrnn.optimize import init_state, update
from normrnn.penalties import (
    L1,
    L2,
    ElasticNet,
    GroupLasso,
    MaxNorm,
    NonNegative,
    NuclearNorm,
    Prox,
    SoftOrthogonality,
    SparseGroupLasso,
    SpectralCap,
    SpectralNorm,
    UnitNorm,
)
from normrnn.rules import SGD, Adam, AdamW, Momentum
from normrnn.selection import path
from normrnn.shrink import shrink
from normrnn.state_penalties import AR, TAR, ActivityL1, ActivityL2, NormStabilizer, Omega

__version__ = version("normrnn")

_threadpoolctl.register()

__all__ = [
    "AR",
    "L1",
    "L2",
    "SGD",
    "TAR",
    "ActivityL1",
    "ActivityL2",
    "Adam",
    "AdamW",
    "Dropout",
    "ElasticNet",
    "FrozenParams",
    "GroupLasso",
    "MaxNorm",
    "Momentum",
    "Monitor",
    "NonNegative",
    "NormStabilizer",
    "NuclearNorm",
    "Omega",
    "Prox",
    "SoftOrthogonality",
    "SparseGroupLasso",
    "SpectralCap",
    "SpectralNorm",
    "UnitNorm",
    "backward",
    "device",
    "diagnostics",
    "forward",
    "freeze",
    "get_num_threads",
    "head_backward",
    "head_forward",
    "init_params",
    "init_state",
    "path",
    "penalties",
    "plots",
    "rules",
    "selection",
    "set_num_threads",
    "show_config",
    "shrink",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
    "state_penalties",
    "update",
]
