"""The libraries that normrnn is measured against, one small file each.

All do the same work with the same weights on the same input, and their results are compared with
normrnn's before anything is timed; contract.py says what a peer provides.
"""

from __future__ import annotations

import importlib

from bench.peers.contract import Peer

# Who takes part in which kind of row: name, and where it is defined. normrnn comes first.
SEQUENCE = {
    "normrnn": "ours:SEQUENCE",
    "torch": "torch_eager:PEER",
    "torch-compiled": "torch_compiled:PEER",
    "jax": "jax_scan:PEER",
    "onnxruntime": "onnx_runtime:PEER",
    "openvino": "open_vino:PEER",
    "onednn": "onednn:PEER",
    "numpy": "numpy_loop:PEER",
    "numba": "numba_loop:PEER",
}
BFLOAT16 = {
    "normrnn": "ours:SEQUENCE",
    "normrnn-float32": "ours:FLOAT32",
    "torch-bfloat16": "torch_eager:BFLOAT16",
}
RAGGED = {
    "normrnn": "ours:SEQUENCE",
    "torch-packed": "torch_ragged:PACKED",
    "torch-padded": "torch_ragged:PADDED",
}
UPDATE = {
    "normrnn": "ours:UPDATE",
    "torch-fused": "torch_update:FUSED",
    "torch-foreach": "torch_update:FOREACH",
    "numpy": "numpy_update:PEER",
}
TRAINING = {"normrnn": "ours:TRAINING", "torch": "torch_training:PEER"}
# For what holds a network in check: see bench/norms.
STEPS = {"normrnn": "our_norms:STEPS", "torch": "torch_norms:PEER"}
UPDATES = {
    "normrnn": "our_norms:UPDATES",
    "torch": "torch_penalties:PEER",
    "torch-parametrized": "torch_held:PEER",
}
MONITOR = {"normrnn": "our_norms:MONITOR", "torch": "torch_monitor:PEER"}
# Where torch.nn.utils.parametrizations has another remedy for the same ill.
INSTEAD = {
    "SoftOrthogonality": "orthogonal",
    "SpectralNorm": "spectral_norm",
    "SpectralCap": "spectral_norm",
    "UnitNorm, rows": "weight_norm",
}


class NotInstalledError(ImportError):
    """A peer's library is not there."""


def load(place: str) -> Peer:
    """Import a peer, such as "torch_eager:PEER".

    Raises
    ------
    NotInstalledError
        If it needs a package that is not installed; names the package.
    """
    module, _, attribute = place.partition(":")
    try:
        loaded = importlib.import_module(f"bench.peers.{module}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "bench", "normrnn"):
            raise  # that is a mistake here, not a missing library
        raise NotInstalledError(f"not installed ({package})") from error
    peer = getattr(loaded, attribute)
    assert isinstance(peer, Peer)
    return peer
