"""Settings for every test."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

from normrnn import _core

# Test modules share helpers.py and strategies.py, which pytest's importlib mode does not find.
sys.path.insert(0, str(Path(__file__).parent))

pytest.register_assert_rewrite("calls", "helpers", "runs", "strategies")


def pytest_report_header() -> str:
    """Say which targets are tested, and which cannot be on this machine."""
    config = _core.config()
    others = [target for target in config["targets_usable"] if target != config["target"]]
    lacking = [t for t in config["targets_built"] if t not in config["targets_usable"]]
    return (
        f"normrnn: target {config['target']}, parts also under {', '.join(others) or 'no other'}; "
        f"built, but not for this CPU: {', '.join(lacking) or 'none'}"
    )


# The same examples in every run: a failure is then a property of the change, not of the day.
settings.register_profile("normrnn", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("normrnn")
