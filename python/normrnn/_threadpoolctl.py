"""Makes the pool of threads known to threadpoolctl, where that is installed.

`threadpoolctl.threadpool_limits(limits=1)` then holds for normrnn as it does for BLAS and OpenMP.
"""

from importlib.metadata import version
from importlib.util import find_spec

from normrnn import _core


def register() -> None:
    """Register the pool under the user_api "normrnn"; does nothing without threadpoolctl >= 3.2.

    Called when normrnn is imported, which takes some 2 ms longer with threadpoolctl than without:
    a program that limits "all libraries" must not have to know of normrnn for that to be true.
    """
    if find_spec("threadpoolctl") is None:
        return
    import threadpoolctl

    if not hasattr(threadpoolctl, "register"):
        return

    class Controller(threadpoolctl.LibController):  # type: ignore[misc]  # has no types
        user_api = "normrnn"
        internal_api = "normrnn"
        # Shared libraries are found by file name, and then asked for a symbol that only ours has.
        filename_prefixes = ("_core",)
        check_symbols = ("normrnn_core",)

        def get_num_threads(self) -> int:
            return _core.get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            _core.set_num_threads(min(num_threads, 1024))  # a limit above ours is none

        def get_version(self) -> str:
            return version("normrnn")

    threadpoolctl.register(Controller)
