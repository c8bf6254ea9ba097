// Devices, and arrays of our own on them.
#include <pybind11/stl.h>

#include "device_arrays.h"
#include "register.h"

namespace normrnn::bindings {
namespace {

constexpr const char* kAbout =
    R"(An array in the memory of a GPU, which normrnn made.

What `forward`, `backward` and `init_state` answer with when x or the parameters come from no library
that they know. Its contents are in the order of the stream of the call that made it; it shares its
memory by ``__cuda_array_interface__`` (version 3) and DLPack, so ``torch.from_dlpack(a)``,
``cupy.from_dlpack(a)`` and ``jax.dlpack.from_dlpack(a)`` copy nothing.

Attributes
----------
shape : tuple of int
ndim, size, nbytes : int
dtype : numpy.dtype
    float32 or float64.
device : str
    Such as "cuda:0".)";

cuda::Stream stream_on(int device, const py::object& handle) {
  require_device();
  const int count = cuda::device_count();
  if (device < 0 || device >= count) {
    refuse_value("device", "'cuda:0' to '" + device_text(count - 1) + "'",
                 "'" + device_text(device) + "'");
  }
  const uintptr_t number = handle.is_none() ? 0 : handle.cast<uintptr_t>();
  return {device, reinterpret_cast<void*>(number)};
}

std::shared_ptr<DeviceArray> from_host(const std::string& name, const py::object& object,
                                       int device, const py::object& stream,
                                       const py::object& owner) {
  const cuda::Stream on = stream_on(device, stream);
  const py::array array = as_array(name, object);
  const bool float32 = is_float32(name, array);
  const Dims dims = dims_of(array);
  const py::array ready =
      float32 ? input<float>(name, array, dims) : input<double>(name, array, dims);
  auto made = std::make_shared<DeviceArray>(float32, dims, on, owner);
  made->from_host(ready);
  return made;
}

}  // namespace

void register_cuda(py::module_& m) {
  register_device_sequence(m);
  register_device_update(m);
  m.def("cuda_is_built", cuda::is_built);
  m.def("device_count", cuda::device_count);
  m.def(
      "device_name",
      [](int device) { return cuda::device_name(stream_on(device, py::none()).device); },
      py::arg("device"));
  m.def(
      "synchronize",
      [](int device, const py::object& stream) {
        const cuda::Stream on = stream_on(device, stream);
        without_gil([&] { cuda::synchronize(on); });
      },
      py::arg("device"), py::arg("stream"));
  m.def(
      "release_memory",
      [](int device) {
        const cuda::Stream on = stream_on(device, py::none());
        without_gil([&] { cuda::release_memory(on.device); });  // it waits for the device
      },
      py::arg("device"));
  // Launches of recorded graphs, and failures to record one.
  m.def("graph_counts", [] {
    const cuda::GraphCounts counts = cuda::graph_counts();
    return py::make_tuple(counts.launches, counts.failures);
  });
  m.def("device_from_host", from_host, py::arg("name"), py::arg("array"), py::arg("device"),
        py::arg("stream"), py::arg("stream_owner"));
  // Device (0 for an empty array, which has none), stream or None, shape, dtype.
  m.def(
      "device_facts",
      [](const std::string& name, const py::object& object) {
        DeviceScope scope;
        const DeviceView view = scope.look(name, object);
        return py::make_tuple(std::max(view.device, 0), py::cast(view.stream),
                              py::tuple(py::cast(view.dims)), view.dtype);
      },
      py::arg("name"), py::arg("array"));

  py::class_<DeviceArray, std::shared_ptr<DeviceArray>>(m, "DeviceArray", kAbout, py::is_final(),
                                                        not_from_python())
      .def_property_readonly("shape",
                             [](const DeviceArray& a) { return py::tuple(py::cast(a.dims())); })
      .def_property_readonly("ndim", [](const DeviceArray& a) { return a.dims().size(); })
      .def_property_readonly("size", &DeviceArray::size)
      .def_property_readonly("nbytes", &DeviceArray::nbytes)
      .def_property_readonly("dtype", &DeviceArray::dtype)
      .def_property_readonly("device",
                             [](const DeviceArray& a) { return device_text(a.stream().device); })
      .def("to_host", &DeviceArray::to_host, "Return a copy as a numpy.ndarray, once it is there.")
      .def_property_readonly("__cuda_array_interface__", &DeviceArray::cuda_array_interface)
      .def(
          "__dlpack__",
          [](const DeviceArray& a, const py::object& stream, const py::object& max_version,
             const py::object& device, const py::object& copy) {
            const auto own = std::make_pair(2, a.stream().device);
            if ((!device.is_none() && device.cast<std::pair<int, int>>() != own) ||
                (!copy.is_none() && copy.cast<bool>())) {
              throw py::buffer_error("__dlpack__: expected no copy and no other device");
            }
            return a.dlpack(stream, max_version);
          },
          py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
          py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack_device__",
           [](const DeviceArray& a) { return py::make_tuple(2, a.stream().device); })
      .def("__len__",
           [](const DeviceArray& a) {
             if (a.dims().empty()) throw py::type_error("len() of an array without dimensions");
             return a.dims()[0];
           })
      .def("__repr__", [](const DeviceArray& a) {
        return "DeviceArray(shape=" + text_of(a.dims()) +
               ", dtype=" + std::string(py::str(a.dtype())) + ", device='" +
               device_text(a.stream().device) + "')";
      });
}

}  // namespace normrnn::bindings
