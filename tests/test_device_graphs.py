"""Loops over time that are recorded as graphs, against the same loops call by call."""

import json
from pathlib import Path

import numpy as np
import pytest

from devices import PLACES, SIMULATED, needs_device
from graph_steps import CASES, STEPS
from runs import assert_same_bits, run_python

pytestmark = needs_device

PROGRAM = Path(__file__).with_name("graph_steps.py")
# NumPy's arrays are copied to the device for each call: they are nowhere that stays.
STAYING = [place.name for place in PLACES if place.name != "host"]


@pytest.mark.parametrize("library", STAYING)
def test_recorded_loops_give_the_same_bits(library: str, tmp_path: Path) -> None:
    """In processes of their own, for a process decides once whether it records."""
    counts, results = {}, {}
    for graphs in ("0", "1"):
        file = tmp_path / f"{graphs}.npz"
        said = run_python(str(PROGRAM), library, str(file), timeout=300, NORMRNN_CUDA_GRAPHS=graphs)
        counts[graphs] = json.loads(said)
        with np.load(file) as found:
            results[graphs] = dict(found)
    assert {name.split(":")[0] for name in results["1"]} == set(CASES)
    assert len({name for name in results["1"] if name.startswith("lstm: ")}) > 20 * STEPS
    assert_same_bits(results["1"], results["0"])
    assert not any(any(each) for each in counts["0"].values())
    for case, (launches, backwards, failures) in counts["1"].items():
        assert failures == 0, case
        assert (launches > 0) != SIMULATED, case  # the simulated device has no graphs
        if "dropout" not in case:  # whose steps are not alike
            assert (backwards > 0) != SIMULATED, case
