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
