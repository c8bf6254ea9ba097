// What is built, what is in use, threads, and the check for Ctrl-C.
#include <pthread.h>
#include <pybind11/stl.h>

#include <atomic>

#include "arrays.h"
#include "cpu/dispatch.h"
#include "cpu/threads.h"
#include "normrnn/cuda.h"
#include "normrnn/registry.h"
#include "peak.h"
#include "register.h"
#include "workspace.h"

// By which threadpoolctl knows this library from others whose file is called _core.
extern "C" __attribute__((visibility("default"), used)) const char normrnn_core = 1;

namespace normrnn::bindings {
namespace {

bool finalizing() {
#if PY_VERSION_HEX >= 0x030d0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

// Python runs signal handlers on its main thread only. The others need not wait for the GIL.
std::atomic<unsigned long> main_thread{0};

bool interrupted() {
  if (PyThread_get_thread_ident() != main_thread.load(std::memory_order_relaxed)) return false;
  if (finalizing()) return false;
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

py::dict config() {
  py::dict d;
#if defined(__clang__)
  d["compiler"] = "clang " __clang_version__;
#else
  d["compiler"] = "gcc " __VERSION__;
#endif
  d["targets_built"] = targets_built();
  d["targets_usable"] = targets_usable();
  d["target"] = target().name;
  d["num_threads"] = num_threads();
  d["cuda"] = cuda::is_built();
  return d;
}

}  // namespace

void register_config(py::module_& m) {
  const py::object main = py::module_::import("threading").attr("main_thread")();
  main_thread = main.attr("ident").cast<unsigned long>();
  // In a child process the thread that called fork() is the main one.
  pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
  set_interrupt_check(interrupted);
  m.def("config", config);
  m.def("get_num_threads", num_threads);
  m.def(
      "set_num_threads",
      [](const py::object& count) { set_num_threads(count_in("count", count, "an integer")); },
      py::arg("count"));
  m.def("release_host_memory", [] { without_gil([] { normrnn::release_memory(); }); });
  m.def("cells", [] {
    py::dict d;
    for (const CellFacts& cell : cells()) {
      d[cell.name.c_str()] = py::make_tuple(cell.gates, cell.states);
    }
    return d;
  });
  m.def(
      "parameter_shapes",
      [](const std::string& cell, int64_t inputs, int64_t hidden, bool bias) {
        const CellFacts& facts = cells()[size_t(index_of("cell", cell_names(), cell))];
        py::dict d;
        for (const ParameterKind kind : kinds_of(facts, bias)) {
          d[kind_name(kind)] = py::tuple(py::cast(shape_of(facts, kind, inputs, hidden)));
        }
        return d;
      },
      py::arg("cell"), py::arg("inputs"), py::arg("hidden"), py::arg("bias"));
  m.def("rules", [] {
    py::dict d;
    for (const RuleFacts& rule : rules()) d[rule.name.c_str()] = rule.slots;
    return d;
  });
  m.def("penalties", penalty_names);
  m.def(
      "fma_peak",
      [](bool float32, const py::object& num_threads) {
        const int threads = threads_of(num_threads);
        double peak = 0;
        without_gil([&] { peak = float32 ? fma_peak<float>(threads) : fma_peak<double>(threads); });
        return peak;
      },
      py::arg("float32"), py::arg("num_threads"));
  m.def(
      "stream_bandwidth",
      [](const py::object& num_threads) {
        const int threads = threads_of(num_threads);
        double bandwidth = 0;
        without_gil([&] { bandwidth = stream_bandwidth(threads); });
        return bandwidth;
      },
      py::arg("num_threads"));
}

}  // namespace normrnn::bindings
