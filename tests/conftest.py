"""Settings for every test."""

from hypothesis import settings

# The same examples in every run: a failure is then a property of the change, not of the day.
settings.register_profile("normrnn", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("normrnn")
