"""Each SIMD target that this machine can run, and the environment variables that choose."""

from pathlib import Path

import pytest

from normrnn import _core
from runs import run_python

CONFIG = _core.config()
OTHERS = [target for target in CONFIG["targets_usable"] if target != CONFIG["target"]]
HERE = Path(__file__).parent
# The parts of the suite that depend on the target's code, compact enough to run for each.
PARTS = [
    "test_core.py::test_agrees_at_every_edge_of_vectors_and_tiles",
    "test_core.py::test_agrees_on_empty_dimensions",
    "test_update.py::test_agrees_with_the_reference",
    "test_groups.py::test_agrees_with_the_reference",
    "test_groups.py::test_bits_do_not_depend_on_threads",
    "test_groups.py::test_prox_under_adam_is_optimal_in_its_metric",
    "test_groups.py::test_empty_and_single_weights",
    "test_inputs.py::test_a_tape_whose_weights_have_changed",
    "test_bitwise.py",
    "test_state_penalties.py::test_agrees_at_every_edge_of_vectors_and_tiles",
    "test_state_penalties.py::test_clipping_does_not_hide_nan",
    "test_dropout.py::test_the_core_draws_the_bits_of_the_reference",
    "test_dropout.py::test_core_agrees_at_every_edge_of_vectors_and_tiles",
    "test_torch.py::test_head",
    "test_torch.py::test_losses",
    "test_activations.py",
    "test_diagnostics.py::test_a_tape_shows_states_and_gates",
]
BFLOAT16_PARTS = [
    "test_bfloat16.py::test_agrees_with_the_reference",
    "test_bfloat16.py::test_weight_gradients_take_more_than_bfloat16",
    "test_bfloat16.py::test_same_bits_for_any_number_of_threads",
]
ALIKE = {"avx512", "avx512bf16", "amx"}  # but for their products of bfloat16
ASK = "import normrnn; print(normrnn._core.config()['target'], normrnn.get_num_threads())"


@pytest.mark.parametrize("target", OTHERS)
def test_a_target_that_is_not_in_use(target: str) -> None:
    """On the one in use the whole suite runs."""
    assert run_python("-c", ASK, NORMRNN_TARGET=target).split()[0] == target
    alike = {target, CONFIG["target"]} <= ALIKE
    parts = [str(HERE / part) for part in BFLOAT16_PARTS + PARTS * (not alike)]
    print(run_python("-m", "pytest", "-q", *parts, timeout=300, NORMRNN_TARGET=target))


def test_targets_that_this_machine_lacks() -> None:
    lacking = [t for t in CONFIG["targets_built"] if t not in CONFIG["targets_usable"]]
    for target in [*lacking, "sse9"]:
        choices = ", ".join(repr(t) for t in CONFIG["targets_usable"])
        message = f"NORMRNN_TARGET: expected one of {choices}, which this CPU has, got '{target}'"
        assert message in error_of(NORMRNN_TARGET=target)


@pytest.mark.parametrize("count", ["abc", "0", "-1", "1025", "2.0", "99999999999999999999"])
def test_number_of_threads_that_is_none(count: str) -> None:
    message = f"NORMRNN_NUM_THREADS: expected an integer from 1 to 1024, got '{count}'"
    assert message in error_of(NORMRNN_NUM_THREADS=count)


def test_number_of_threads_from_the_environment() -> None:
    assert run_python("-c", ASK, NORMRNN_NUM_THREADS="3").split()[1] == "3"


def test_an_empty_variable_is_as_good_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NORMRNN_TARGET", "NORMRNN_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    plain = run_python("-c", ASK)
    assert run_python("-c", ASK, NORMRNN_TARGET="", NORMRNN_NUM_THREADS="") == plain


def error_of(**environment: str) -> str:
    """What a ValueError says, when the package is first used."""
    code = f"try:\n    {ASK}\nexcept ValueError as error:\n    print(error)"
    return run_python("-c", code, **environment)
