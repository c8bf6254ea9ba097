"""Development tasks: `nox` runs lint, types and tests; `nox -s NAME` runs one session.

Tool versions live in the extras of pyproject.toml and nowhere else.
"""

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
BUILD_DIR = "build/dev"
# A test that hangs is a failure, and so is a build that registered no tests.
CTEST = f"ctest --test-dir {BUILD_DIR} --no-tests=error --timeout 300 --output-on-failure".split()
CTEST += ["--parallel", "2"]
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")["project"]


def extra(name: str) -> list[str]:
    """List an extra without the package itself, for sessions that do not need it built."""
    requirements: list[str] = PROJECT["optional-dependencies"][name]
    return [one for one in requirements if not one.startswith("normrnn")]


def dev_requirements() -> list[str]:
    """List the `dev` extra."""
    return extra("dev")


def device_requirements() -> list[str]:
    """List what tests/test_device*.py need beside a package that is built already."""
    needed = [one for one in extra("test") if one.startswith(("hypothesis", "pytest"))]
    return [*PROJECT["dependencies"], *needed]


def cuda_compiler() -> Path | None:
    """Find nvcc, on PATH or where the toolkit is usually installed."""
    found = shutil.which("nvcc")
    usual = Path("/usr/local/cuda/bin/nvcc")
    return Path(found) if found else usual if usual.exists() else None


@nox.session
def lint(session: nox.Session) -> None:
    """Check Python with ruff and C++ with clang-format; change nothing."""
    session.install(*dev_requirements())
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    sources = sorted(
        str(path.relative_to(ROOT))
        for folder in ("cpp", "bench")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".h", ".cpp", ".cu", ".cuh")
    )
    if not sources:
        session.error("cpp/, bench/: expected C++ sources to check, found none")
    session.run("clang-format", "--dry-run", "--Werror", *sources)


@nox.session
def types(session: nox.Session) -> None:
    """Check the package's types, and that the stub of the compiled module matches it."""
    # One SIMD target will do: nothing is computed, and the build takes a quarter of the time.
    session.install(".[dev]", "--config-settings=cmake.define.NORMRNN_TARGETS=baseline")
    session.run("mypy", "--strict", "python/normrnn")
    allowed = ("--allowlist", "python/stubtest-allowlist.txt")
    session.run("python", "-m", "mypy.stubtest", "normrnn._core", *allowed)


@nox.session
def tests(session: nox.Session) -> None:
    """Run pytest against the installed package; arguments after `--` go to pytest."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def cpp(session: nox.Session) -> None:
    """Build the C++ core with the `dev` preset and run its tests; the package's on a simulated GPU.

    Nothing of it needs a GPU or CUDA.
    """
    session.install(*dev_requirements(), *device_requirements())
    found = session.run("python", "-m", "pybind11", "--cmakedir", silent=True)
    simulated = ("-DNORMRNN_CUDA_SIMULATED=ON", f"-DCMAKE_PREFIX_PATH={str(found).strip()}")
    without = ("-DNORMRNN_CUDA=OFF", "-DNORMRNN_CUDA_BENCH=OFF")  # which `cuda` leaves ON
    session.run("cmake", "--preset", "dev", "-B", BUILD_DIR, *simulated, *without)
    session.run("cmake", "--build", BUILD_DIR, "--parallel")
    session.run(*CTEST, *session.posargs)


@nox.session
def cuda(session: nox.Session) -> None:
    """Compile and link the CUDA half, without a warning or a register spill; no GPU is needed.

    In the build of `cpp`, of which it takes what is compiled already. Without nvcc it is skipped.
    """
    nvcc = cuda_compiler()
    if nvcc is None:
        session.skip("no nvcc here: the CUDA half was NOT compiled")
    session.install(*dev_requirements())
    cublas = nvcc.parents[1]
    if not (cublas / "include" / "cublas_v2.h").exists():
        session.install(*extra("cuda"))  # half a gigabyte, unless pip has kept it
        found = session.run("python", "-c", "import nvidia; print(*nvidia.__path__)", silent=True)
        cublas = Path(str(found).strip()) / "cu13"
    options = {
        "CMAKE_CUDA_COMPILER": nvcc,
        "CMAKE_CUDA_FLAGS": "-Werror=all-warnings",
        "NORMRNN_CUBLAS_ROOT": cublas,
        "NORMRNN_CUDA": "ON",
        "NORMRNN_CUDA_BENCH": "ON",  # some 15 s on two cores
        "NORMRNN_CUDA_SIMULATED": "OFF",
    }
    given = [f"-D{name}={value}" for name, value in options.items()]
    session.run("cmake", "--preset", "dev", "-B", BUILD_DIR, *given)
    session.run("cmake", "--build", BUILD_DIR, "--parallel")
    session.run(*CTEST, "-R", "cuda[.]spills|cuda_face", *session.posargs)


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Build, test and measure on a GPU with what is installed, offline; says if there is none.

    Arguments after `--` go to `python -m bench.gpu.session`.
    """
    session.run("python3", "-m", "bench.gpu.session", *session.posargs, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed on this machine; arguments after `--` go to pytest."""
    session.install(".[bench]")
    pytest = ("python", "-m", "pytest", "bench", "-o", "python_files=bench_*.py")
    session.run(*pytest, *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Measure speed beside other libraries; arguments after `--` go to `python -m bench`."""
    session.install(".[peers]")
    session.run("python", "-m", "bench", *session.posargs)


@nox.session
def norms(session: nox.Session) -> None:
    """Measure what norms and dropout cost, beside PyTorch; arguments go to `python -m bench`."""
    session.install(".[norms]")
    session.run("python", "-m", "bench", "--groups", "norms", *session.posargs)
