"""Facts about the machine and the build, written down with every run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import normrnn as nr
from normrnn import _core

ROOT = Path(__file__).parents[1]


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    listing = Path("/proc/cpuinfo")
    known: dict[str, str] = {}
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            known.setdefault(name.strip(), value.strip())
    if "model name" not in known:
        return platform.processor() or platform.machine()
    # A virtual machine's name can stand for several generations, which these numbers tell apart.
    numbers = [f"{name} {known[name]}" for name in ("cpu family", "model") if name in known]
    return f"{known['model name']} ({', '.join(numbers)})" if numbers else known["model name"]


def cores() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def today() -> str:
    """Return the date, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def commit() -> str:
    """Return the commit of the sources; "unknown" without git or its history."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return said.stdout.strip() or "unknown"


def facts(threads: int) -> dict[str, Any]:
    """Collect what a reader needs to judge the figures."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": threads,
        "pinned": hasattr(os, "sched_setaffinity"),
        "target": _core.config()["target"],
        "compiler": _core.config()["compiler"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "normrnn": nr.__version__,
        "commit": commit(),
        "date": today(),
        "peaks": {},
    }
