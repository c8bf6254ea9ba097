"""Speed: bench_*.py for pytest-benchmark, and `python -m bench` side by side with the peers."""
