"""`python -m bench.gpu.session`: build, test and measure on a GPU, with what is installed there.

Must be installed: nvcc 13, cuBLAS with its headers, CMake, Ninja, a C++20 compiler and, of Python's
packages, numpy, pybind11 3, pytest, hypothesis, matplotlib and torch with CUDA. Nothing is fetched.
Stages can be run one by one, where time is short.
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
STAGES = ("build", "core", "package", "sanitizer", "latencies", "bench")
LATENCIES = ("launches", "grid_barrier", "cluster_barrier", "exchange")
NO_DEVICE = 77  # exit status of those: the device is not one of theirs
# Small, and through every kernel of the forward and backward pass and of the update.
SANITIZED = "every_cell and float32 and (lstm or gru_ln) or clips and clip_norm and float32"


def main(arguments: list[str] | None = None) -> int:
    """Run the stages in order, all of them unless there is no core; the worst of their statuses."""
    parser = argparse.ArgumentParser("python -m bench.gpu.session", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--arch", default="", help="build for it alone, such as 90a-real")
    parser.add_argument("--bench", nargs=argparse.REMAINDER, default=[], help="for bench.gpu")
    given = parser.parse_args(arguments)
    stages = given.stages or list(STAGES)
    unknown = sorted(set(stages) - set(STAGES))
    if unknown:
        parser.error(f"STAGE: expected some of {', '.join(STAGES)}, got {unknown[0]}")
    if not has_gpu():
        print("no NVIDIA GPU here: nothing was built, tested or measured")
        return 0
    actions = {
        "build": lambda: build(given.jobs, given.arch),
        "core": lambda: core(given.jobs),
        "package": lambda: pytest(),
        "sanitizer": sanitize,
        "latencies": latencies,
        "bench": lambda: bench(given.bench),
    }
    statuses = {}
    for stage in STAGES:
        if stage in stages:
            print(f"== {stage}", flush=True)
            statuses[stage] = actions[stage]()
            if stage == "build" and statuses[stage] and not has_core():
                break
    failed = [stage for stage, status in statuses.items() if status]
    print(f"== failed: {', '.join(failed) or 'none'} of {', '.join(statuses)}")
    return max(map(abs, statuses.values()))  # negative: ended by a signal


def has_gpu() -> bool:
    """Whether the driver lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU 0" in listed.stdout


def ask_pybind11(option: str) -> str:
    """Return what ``python -m pybind11`` says; nothing if it is not installed."""
    command = [sys.executable, "-m", "pybind11", option]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def has_core() -> bool:
    """Whether the package in the build's folder has its compiled module."""
    return any((PACKAGE / "normrnn").glob("_core.*.so"))


def build(jobs: int, arch: str) -> int:
    """Build the core with CUDA and its tests, and lay the package out for this Python.

    What else cannot be built, a test or a benchmark, does not keep the core from being used.
    """
    version = ask_pybind11("--version")
    if int(version.partition(".")[0] or 0) < 3:
        print(f"{sys.executable}: expected pybind11 3.0 or later, got {version or 'none'}")
        return 1
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CUDA_ARCHITECTURES": arch,
        "CMAKE_CUDA_COMPILER": nvcc,
        "NORMRNN_CUDA": "ON",
        "NORMRNN_CUDA_BENCH": "ON",
        "NORMRNN_TESTS": "ON",
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": ask_pybind11("--cmakedir"),
    }
    given = [f"-D{name}={value}" for name, value in options.items() if value]
    for core in (PACKAGE / "normrnn").glob("_core.*.so"):
        core.unlink()  # of an earlier build
    configured = run("cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", *given)
    if configured:
        return configured
    compile_ = ("cmake", "--build", BUILD, "--parallel", jobs)
    failed = run(*compile_, "--", "-k", 0)
    if failed:
        print("== not built:", flush=True)
        run(*compile_, "--", "-n")
        if run(*compile_, "--target", "_core"):
            return failed
    return lay_out(BUILD, PACKAGE) or failed


def lay_out(built: Path, package: Path) -> int:
    """Put the package where PYTHONPATH can find it: its sources, the core, and a version."""
    copy = ROOT / "cpp" / "tests" / "copy_package.cmake"
    to = f"-DTO={package / 'normrnn'}"
    about = package / "normrnn-0.dist-info" / "METADATA"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text("Metadata-Version: 2.1\nName: normrnn\nVersion: 0\n", encoding="utf-8")
    return run("cmake", f"-DFROM={ROOT / 'python' / 'normrnn'}", to, "-P", copy) or run(
        "cmake", "--install", built, "--prefix", package
    )


def core(jobs: int) -> int:
    """Run the C++ tests of the CUDA half; the others have nothing to do with the device."""
    which = ("-R", "cuda", "--no-tests=error", "-j", jobs)
    return run("ctest", "--test-dir", BUILD, *which, "--output-on-failure")


def pytest(*options: str, under: tuple[str, ...] = ()) -> int:
    """Run the tests of devices on the GPU; warnings of whatever libraries there are do no harm."""
    files = sorted((ROOT / "tests").glob("test_device*.py"))
    wanted = {"NORMRNN_TEST_DEVICE": "gpu"}
    plain = ("-q", "-W", "default")
    return run(*under, sys.executable, "-m", "pytest", *plain, *files, *options, environment=wanted)


def sanitize() -> int:
    """Look for bad accesses and races in a few small tests, where the tool is installed."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(tool).exists():
        print("compute-sanitizer is not installed: left out")
        return 0
    worst = 0
    for check in ("memcheck", "racecheck"):
        under = (tool, "--tool", check, "--error-exitcode", "9")
        under += ("--target-processes", "application-only", "--require-cuda-init", "no")
        under += ("--kernel-name", "kns=normrnn")  # not those of cuBLAS and PyTorch
        if check == "memcheck":  # libraries ask for what may fail, and look at what comes back
            under += ("--report-api-errors", "no", "--track-stream-ordered-races", "all")
        worst = max(worst, abs(pytest("-k", SANITIZED, under=under)))
    return worst


def latencies() -> int:
    """Measure what docs/cuda.md's cost model assumes, where the device can do it."""
    statuses = [run(BUILD / "bench" / "cuda" / f"bench_{name}") for name in LATENCIES]
    return max(0 if status == NO_DEVICE else abs(status) for status in statuses)


def bench(options: list[str]) -> int:
    """Measure, and put what there is into docs/benchmarks.md, failed rows or not."""
    status = run(sys.executable, "-m", "bench.gpu", *options)
    results = list((ROOT / "bench" / "results").glob("gpu-*.json"))
    if not results:
        return status
    newest = max(results, key=lambda path: path.stat().st_mtime)
    reported = run(sys.executable, "-m", "bench.gpu", "report", newest)
    return status or reported


def run(*command: object, environment: dict[str, str] | None = None) -> int:
    """Run a command in the repository's root with the package of the build; its exit status."""
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    own = os.environ | {"PYTHONPATH": path} | (environment or {})
    try:
        return subprocess.run(words, cwd=ROOT, env=own, check=False).returncode
    except FileNotFoundError as error:  # what the build did not make
        print(error)
        return 127


if __name__ == "__main__":
    sys.exit(main())
