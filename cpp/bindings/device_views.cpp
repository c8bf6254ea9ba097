// How callers' arrays are read.
#include <pybind11/stl.h>

#include "device_arrays.h"
#include "dlpack.h"

namespace normrnn::bindings {
namespace {

bool is_contiguous(const Dims& dims, const int64_t* strides, int64_t unit) {
  for (size_t i = dims.size(); i-- > 0; unit *= dims[i]) {
    if (dims[i] == 0) return true;
    if (dims[i] != 1 && strides[i] != unit) return false;
  }
  return true;
}

bool is_aligned(const void* data, int64_t bytes) {
  return bytes <= 0 || reinterpret_cast<uintptr_t>(data) % uintptr_t(bytes) == 0;
}

// What an attribute or a method of the object gives; a refusal of its own becomes ours, with a
// name.
template <class F>
py::object ask(const std::string& name, const py::handle& object, F&& f) {
  try {
    return f();
  } catch (py::error_already_set& error) {
    const std::string got = type_of(object) + ": " + std::string(py::str(error.value()));
    const std::string message = name + ": expected an array that shares its memory, got " + got;
    py::raise_from(error, PyExc_TypeError, message.c_str());
    throw py::error_already_set();
  }
}

// Whether an object has the attribute, which it may also refuse to give.
bool has(const std::string& name, const py::handle& object, const char* attribute) {
  PyObject* found = PyObject_GetAttrString(object.ptr(), attribute);
  if (found) {
    Py_DECREF(found);
    return true;
  }
  if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Clear();
    return false;
  }
  ask(name, object, []() -> py::object { throw py::error_already_set(); });
  return false;
}

DeviceView from_interface(const std::string& name, const py::handle& object) {
  DeviceView view{};
  view.owner = py::reinterpret_borrow<py::object>(object);
  const auto facts = dict_in(name + ".__cuda_array_interface__", ask(name, object, [&] {
                               return py::object(object.attr("__cuda_array_interface__"));
                             }));
  view.dims = facts["shape"].cast<Dims>();
  const auto type = facts["typestr"].cast<std::string>();
  const py::dtype dtype(type);
  view.dtype = py::str(dtype);
  const auto where = facts["data"].cast<std::pair<uintptr_t, bool>>();
  view.data = reinterpret_cast<void*>(where.first);
  view.read_only = where.second;
  const auto optional = [&](const char* key) -> py::object {
    return facts.contains(key) ? py::object(facts[key]) : py::none();
  };
  if (!optional("mask").is_none()) refuse_type(name, "an array without a mask", type_of(object));
  view.contiguous = is_aligned(view.data, dtype.itemsize());
  if (const py::object strides = optional("strides"); !strides.is_none()) {
    const auto given = strides.cast<std::vector<int64_t>>();
    view.contiguous &= is_contiguous(view.dims, given.data(), dtype.itemsize());
  }
  if (const py::object stream = optional("stream"); !stream.is_none()) {
    view.stream = stream.cast<uintptr_t>();
  }
  const py::object version = optional("version");
  view.says_streams = !version.is_none() && version.cast<int>() >= 3;
  view.device = -1;
  if (view.size() > 0) {
    view.device = cuda::device_of(view.data);
    if (view.device < 0) refuse_value(name, "memory of a GPU", "that of the host");
  }
  return view;
}

std::string dtype_of(const dlpack::Tensor& tensor) {
  static const char* const kKinds[] = {"int",    "uint",    "float", "handle",
                                       "bfloat", "complex", "bool"};
  const std::string kind = tensor.kind < std::size(kKinds) ? kKinds[tensor.kind] : "number";
  return kind + std::to_string(int(tensor.bits) * tensor.lanes);
}

DeviceView from_dlpack(const std::string& name, const py::handle& object, int64_t stream) {
  const py::object method = object.attr("__dlpack__");
  const auto number = py::int_(stream);
  // The newer form first; older producers do not know max_version.
  py::object capsule;
  try {
    capsule = method(py::arg("stream") = number, py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) {
      ask(name, object, [&]() -> py::object { throw; });
    }
    capsule = ask(name, object, [&] { return method(py::arg("stream") = number); });
  }
  DeviceView view{};
  const dlpack::Tensor* tensor;
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* held =
        static_cast<dlpack::Versioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    view.read_only = held->flags & dlpack::kReadOnly;
    tensor = &held->tensor;
  } else {
    void* held = PyCapsule_GetPointer(capsule.ptr(), "dltensor");
    if (!held) throw py::error_already_set();
    tensor = &static_cast<dlpack::Managed*>(held)->tensor;
  }
  view.owner = capsule;  // left unused, it gives the tensor back when it goes
  view.dims = Dims(tensor->shape, tensor->shape + tensor->rank);
  view.dtype = dtype_of(*tensor);
  view.data = static_cast<char*>(tensor->data) + tensor->offset;
  view.contiguous = is_aligned(view.data, tensor->bits * tensor->lanes / 8) &&
                    (!tensor->strides || is_contiguous(view.dims, tensor->strides, 1));
  view.device = tensor->device;
  if (tensor->device_kind != dlpack::kCuda && tensor->device_kind != dlpack::kCudaManaged) {
    refuse_value(name, "memory of an NVIDIA GPU",
                 "a device of kind " + std::to_string(tensor->device_kind) + " of DLPack");
  }
  return view;
}

// Whether it is in a GPU's memory, by its own account.
bool says_device(const py::handle& object) {
  const py::object device = object.attr("__dlpack_device__")();
  const int kind = device.cast<std::pair<int, int>>().first;
  return kind == dlpack::kCuda || kind == dlpack::kCudaManaged;
}

}  // namespace

int64_t DeviceView::size() const {
  int64_t count = 1;
  for (const py::ssize_t dim : dims) count *= dim;
  return count;
}

bool is_float32(const std::string& name, const DeviceView& view) {
  if (view.dtype == "float32") return true;
  if (view.dtype == "float64") return false;
  refuse_type(name, "dtype float32 or float64", view.dtype);
}

DeviceScope::DeviceScope(const py::object& stream, py::object stream_owner)
    : owner_(std::move(stream_owner)) {
  require_device();
  if (!stream.is_none()) handle_ = stream.cast<uintptr_t>();
}

DeviceScope::DeviceScope() : ordered_(false) { require_device(); }

cuda::Stream DeviceScope::stream() const {
  return {std::max(device_, 0), reinterpret_cast<void*>(handle_.value_or(0))};
}

void DeviceScope::stay_on(const cuda::Stream& stream, const py::object& stream_owner,
                          const std::string& what) {
  device_ = stream.device;
  first_ = what;
  if (handle_) return;
  handle_ = reinterpret_cast<uintptr_t>(stream.handle);
  owner_ = stream_owner;
}

DeviceView DeviceScope::look(const std::string& name, const py::handle& object) {
  const std::string expected =
      device_ < 0 ? "an array on a GPU"
                  : "an array on " + device_text(device_) + ", where " + first_ + " is";
  if (py::isinstance<py::array>(object)) {
    refuse_type(name, expected, type_of(object) + " in the memory of the host");
  }
  DeviceView view;
  const auto by_dlpack = [&] {
    if (ordered_ && !handle_) handle_ = 0;  // it is in the order of this one from here on
    return from_dlpack(name, object, ordered_ ? int64_t(plain_handle(*handle_)) : int64_t(-1));
  };
  if (has(name, object, "__cuda_array_interface__")) {
    view = from_interface(name, object);
    // Before version 3 it says nothing of streams. DLPack makes ours wait, as for JAX's, which have
    // streams of their own. PyTorch's tensors are in the order of its current one.
    if (ordered_ && !view.says_streams && view.size() > 0 && !has(name, object, "record_stream") &&
        has(name, object, "__dlpack__")) {
      const bool read_only = view.read_only;  // which an older capsule does not say
      view = by_dlpack();
      view.read_only |= read_only;
    }
  } else if (has(name, object, "__dlpack_device__")) {
    if (!says_device(object)) {
      refuse_type(name, expected, type_of(object) + " in the memory of the host");
    }
    view = by_dlpack();
  } else {
    refuse_type(name, expected + " (__cuda_array_interface__ or DLPack)", type_of(object));
  }
  if (view.device >= 0 && device_ < 0) {
    device_ = view.device;
    first_ = name;
  } else if (view.device >= 0 && view.device != device_) {
    refuse_value(name, expected, "one on " + device_text(view.device));
  }
  if (!view.contiguous) {
    refuse_value(name, "a C-contiguous, aligned array", "another layout");
  }
  if (view.stream && !handle_) handle_ = view.stream;
  if (ordered_ && view.stream && plain_handle(*view.stream) != plain_handle(*handle_) &&
      view.device >= 0) {
    cuda::wait(stream(), {view.device, reinterpret_cast<void*>(*view.stream)});
  }
  return view;
}

template <class T>
void DeviceScope::expect(const std::string& name, const DeviceView& view, const Dims& dims,
                         bool writeable) {
  const char* const dtype = sizeof(T) == 4 ? "float32" : "float64";
  if (view.dtype != dtype) refuse_type(name, std::string("dtype ") + dtype, view.dtype);
  if (view.dims != dims) refuse_value(name, "shape " + text_of(dims), text_of(view.dims));
  if (writeable && view.read_only) refuse_value(name, "a writeable array", "a read-only one");
}

template <class T>
DeviceView DeviceScope::input(const std::string& name, const py::handle& object, const Dims& dims) {
  DeviceView view = look(name, object);
  expect<T>(name, view, dims, false);
  return view;
}

template <class T>
DeviceView DeviceScope::in_place(const std::string& name, const py::handle& object,
                                 const Dims& dims) {
  DeviceView view = look(name, object);
  expect<T>(name, view, dims, true);
  return view;
}

#define NORMRNN_INSTANTIATE(T)                                                                    \
  template void DeviceScope::expect<T>(const std::string&, const DeviceView&, const Dims&, bool); \
  template DeviceView DeviceScope::input<T>(const std::string&, const py::handle&, const Dims&);  \
  template DeviceView DeviceScope::in_place<T>(const std::string&, const py::handle&, const Dims&);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)

}  // namespace normrnn::bindings
