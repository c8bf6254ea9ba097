"""Settings for every test."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Test modules share helpers.py and strategies.py, which pytest's importlib mode does not find.
sys.path.insert(0, str(Path(__file__).parent))

pytest.register_assert_rewrite("calls", "helpers", "runs", "strategies")

# The same examples in every run: a failure is then a property of the change, not of the day.
settings.register_profile("normrnn", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("normrnn")
