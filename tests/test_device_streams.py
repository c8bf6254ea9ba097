"""Work on PyTorch's streams: what waits for what, which nothing but a GPU can show."""

from typing import Any

import pytest

import normrnn as nr
from devices import needs_device, needs_torch
from normrnn import _core
from strategies import Problem

pytestmark = [needs_device, needs_torch]

# Long enough that its loops are recorded, and for an order that is wrong to show.
PROBLEM = Problem("lstm", 100, 8, 32, 64, 2, True, True, False, None, False, "float32", seed=0)
STEPS = 4  # the first call by call, the last ones from recordings


def late(tensor: Any) -> Any:
    """Make the same numbers on the current stream, after some ms of zeros."""
    import torch

    made = torch.zeros_like(tensor)
    torch.cuda._sleep(10_000_000)  # of the device's cycles
    return made.copy_(tensor)


def named(out: Any, grads: Any) -> dict[str, Any]:
    return {"y": out.y, "c_n": out.c_n, "dx": grads.x, "h_norm": grads.h_norm, **grads.params}


@pytest.mark.parametrize("given", [False, True], ids=["current", "stream="])
def test_side_streams(given: bool) -> None:
    """x and forward on one, dy and backward on another: the bits of the default stream.

    And the same places in memory again, or no backward pass would be a recording's.
    """
    import torch

    arrays = PROBLEM.arrays()
    x, dy = torch.from_numpy(arrays.x).cuda(), torch.from_numpy(arrays.dy).cuda()
    params = {name: torch.from_numpy(w).cuda() for name, w in arrays.params.items()}
    out = nr.forward("lstm", x, params)
    expected = named(out, nr.backward(out.tape, dy))
    torch.cuda.synchronize()

    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    assert len({first.cuda_stream, second.cuda_stream, 0}) == 3
    launched = 0
    for _ in range(STEPS):
        with torch.cuda.stream(first):
            own_x = late(x)
            if not given:
                out = nr.forward("lstm", own_x, params)
        if given:
            out = nr.forward("lstm", own_x, params, stream=first)
        second.wait_stream(first)
        before, _ = _core.graph_counts()
        with torch.cuda.stream(second):
            own_dy = late(dy)
            if not given:
                grads = nr.backward(out.tape, own_dy)
        if given:
            grads = nr.backward(out.tape, own_dy, stream=second)
        launched += _core.graph_counts()[0] - before
        second.synchronize()
        for name, tensor in named(out, grads).items():
            assert torch.equal(tensor, expected[name]), name
        torch.cuda.synchronize()  # the comparisons, before what they read is dropped
        del out, grads, own_x, own_dy
    assert launched > 0
