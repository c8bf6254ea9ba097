"""`python -m bench.gpu.session`: build, test and measure on a GPU, with what is installed there.

Needs nvcc 13, CMake, a C++20 compiler and, of Python's packages, numpy, pybind11, pytest,
hypothesis and torch; nothing is fetched. Stages can be run one by one, where time is short.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "gpu"
PACKAGE = BUILD / "package"
STAGES = ("build", "core", "package", "sanitizer", "bench")
# Small, and through every kernel of the forward and backward pass and of the update.
SANITIZED = "every_cell and float32 and (lstm or gru_ln) or clips and clip_norm and float32"


def main(arguments: list[str] | None = None) -> int:
    """Run the stages in order; the first that fails ends it."""
    parser = argparse.ArgumentParser("python -m bench.gpu.session", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--bench", nargs=argparse.REMAINDER, default=[], help="for bench.gpu")
    given = parser.parse_args(arguments)
    stages = given.stages or list(STAGES)
    unknown = sorted(set(stages) - set(STAGES))
    if unknown:
        parser.error(f"STAGE: expected some of {', '.join(STAGES)}, got {unknown[0]}")
    if not has_gpu():
        print("no NVIDIA GPU here: nothing was built, tested or measured")
        return 0
    for stage in STAGES:
        if stage in stages:
            print(f"== {stage}", flush=True)
            {
                "build": lambda: build(given.jobs),
                "core": lambda: run("ctest", "--test-dir", BUILD, "--output-on-failure"),
                "package": lambda: pytest(),
                "sanitizer": sanitize,
                "bench": lambda: bench(given.bench),
            }[stage]()
    return 0


def has_gpu() -> bool:
    """Whether the driver lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU 0" in listed.stdout


def build(jobs: int) -> None:
    """Build the core with CUDA and its tests, and lay the package out for this Python."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    pybind11 = subprocess.run(
        [sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True, check=True
    )
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CUDA_COMPILER": nvcc,
        "NORMRNN_CUDA": "ON",
        "NORMRNN_TESTS": "ON",
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.stdout.strip(),
    }
    given = [f"-D{name}={value}" for name, value in options.items()]
    run("cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", *given)
    run("cmake", "--build", BUILD, "--parallel", jobs)
    lay_out(BUILD, PACKAGE)


def lay_out(built: Path, package: Path) -> None:
    """Put the package where PYTHONPATH can find it: its sources, the core, and a version."""
    copy = ROOT / "cpp" / "tests" / "copy_package.cmake"
    to = f"-DTO={package / 'normrnn'}"
    run("cmake", f"-DFROM={ROOT / 'python' / 'normrnn'}", to, "-P", copy)
    run("cmake", "--install", built, "--prefix", package)
    about = package / "normrnn-0.dist-info" / "METADATA"
    about.parent.mkdir(exist_ok=True)
    about.write_text("Metadata-Version: 2.1\nName: normrnn\nVersion: 0\n", encoding="utf-8")


def pytest(*options: str, under: tuple[str, ...] = ()) -> None:
    """Run the tests of devices on the GPU."""
    files = sorted((ROOT / "tests").glob("test_device*.py"))
    wanted = {"NORMRNN_TEST_DEVICE": "gpu"}
    run(*under, sys.executable, "-m", "pytest", "-q", *files, *options, environment=wanted)


def sanitize() -> None:
    """Look for bad accesses and races in a few small tests, where the tool is installed."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(tool).exists():
        print("compute-sanitizer is not installed: left out")
        return
    for check in ("memcheck", "racecheck"):
        under = (tool, "--tool", check, "--error-exitcode", "9", "--target-processes", "all")
        pytest("-k", SANITIZED, under=under)


def bench(options: list[str]) -> None:
    """Measure, and put the result into docs/benchmarks.md."""
    run(sys.executable, "-m", "bench.gpu", *options)
    results = (ROOT / "bench" / "results").glob("gpu-*.json")
    newest = max(results, key=lambda path: path.stat().st_mtime)
    run(sys.executable, "-m", "bench.gpu", "report", newest)


def run(*command: object, environment: dict[str, str] | None = None) -> None:
    """Run a command in the repository's root with the package of the build."""
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    own = os.environ | {"PYTHONPATH": str(PACKAGE)} | (environment or {})
    done = subprocess.run(words, cwd=ROOT, env=own, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
