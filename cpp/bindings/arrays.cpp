#include "arrays.h"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>

#include "cpu/threads.h"
#include "workspace.h"

namespace normrnn::bindings {

std::string text_of(const Dims& dims) {
  std::string text = "(";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i) text += ", ";
    text += std::to_string(dims[i]);
  }
  return text += dims.size() == 1 ? ",)" : ")";
}

std::string type_of(const py::handle& object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

std::string dtype_of(const py::array& array) { return py::str(array.dtype()); }

Dims dims_of(const py::array& array) { return Dims(array.shape(), array.shape() + array.ndim()); }

void refuse_type(const std::string& name, const std::string& expected, const std::string& got) {
  throw py::type_error(name + ": expected " + expected + ", got " + got);
}

void refuse_value(const std::string& name, const std::string& expected, const std::string& got) {
  throw py::value_error(name + ": expected " + expected + ", got " + got);
}

py::array as_array(const std::string& name, const py::handle& object) {
  if (!py::isinstance<py::array>(object)) refuse_type(name, "a numpy.ndarray", type_of(object));
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_ &&
      py::hasattr(object, "mask"))
    refuse_type(name, "an array without a mask", type_of(object));
  return py::reinterpret_borrow<py::array>(object);
}

py::array make_bytes(const py::dtype& dtype, const Dims& dims) {
  constexpr int64_t kLarge = 1 << 16;
  int64_t bytes = dtype.itemsize();
  for (const py::ssize_t dim : dims) bytes = product(bytes, dim);
  if (bytes < kLarge) return py::array(dtype, dims);
  struct Block {
    void* memory;
    int64_t bytes;
    explicit Block(int64_t count) : memory(take_memory(count)), bytes(count) {}
    ~Block() { give_memory(memory, bytes); }
  };
  auto block = std::make_unique<Block>(bytes);
  const py::capsule owner(block.get(), [](void* held) { delete static_cast<Block*>(held); });
  const Block* const held = block.release();  // now the capsule's
  return py::array(dtype, dims, held->memory, owner);
}

bool is_float32(const std::string& name, const py::array& array) {
  if (array.dtype().equal(py::dtype::of<float>())) return true;
  if (array.dtype().equal(py::dtype::of<double>())) return false;
  refuse_type(name, "dtype float32 or float64", dtype_of(array));
}

namespace {

template <class T>
py::array check_dtype(const std::string& name, const py::handle& object) {
  py::array array = as_array(name, object);
  if (!array.dtype().equal(py::dtype::of<T>())) {
    refuse_type(name, std::string("dtype ") + py::str(py::dtype::of<T>()).cast<std::string>(),
                dtype_of(array));
  }
  return array;
}

bool is_contiguous(const py::array& array) {
  constexpr int kBoth =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (array.flags() & kBoth) == kBoth;
}

template <class T>
py::array contiguous(py::array array) {
  if (is_contiguous(array)) return array;
  // Not by the object's own copy(), which a subclass may have changed.
  constexpr int kCopy = int(py::array::c_style) | int(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
  const auto copy = py::array_t<T, kCopy>::ensure(array);
  if (!copy) throw std::bad_alloc();
  return copy;
}

}  // namespace

bool is_ready(const py::handle& object, bool float32, const Dims& dims) {
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
  const auto array = py::reinterpret_borrow<py::array>(object);
  const int type = float32 ? py::detail::npy_api::NPY_FLOAT_ : py::detail::npy_api::NPY_DOUBLE_;
  const py::dtype dtype = array.dtype();
  return dtype.num() == type && dtype.byteorder() == '=' &&
         array.ndim() == py::ssize_t(dims.size()) &&
         std::equal(dims.begin(), dims.end(), array.shape()) && is_contiguous(array);
}

template <class T>
py::array input(const std::string& name, const py::handle& object, const Dims& dims) {
  py::array array = check_dtype<T>(name, object);
  if (dims_of(array) != dims) refuse_value(name, "shape " + text_of(dims), text_of(dims_of(array)));
  return contiguous<T>(std::move(array));
}

template <class T>
py::array input_of_rank(const std::string& name, const py::handle& object, py::ssize_t rank,
                        const char* expected) {
  py::array array = check_dtype<T>(name, object);
  if (array.ndim() != rank) refuse_value(name, expected, "shape " + text_of(dims_of(array)));
  return contiguous<T>(std::move(array));
}

template <class T>
py::array in_place(const std::string& name, const py::handle& object, const Dims& dims) {
  py::array array = check_dtype<T>(name, object);
  if (dims_of(array) != dims) refuse_value(name, "shape " + text_of(dims), text_of(dims_of(array)));
  if (!array.writeable()) refuse_value(name, "a writeable array", "a read-only one");
  if (!is_contiguous(array)) {
    refuse_value(name, "a C-contiguous, aligned array to change in place", "another layout");
  }
  return array;
}

#define NORMRNN_INSTANTIATE(T)                                                            \
  template py::array input<T>(const std::string&, const py::handle&, const Dims&);        \
  template py::array input_of_rank<T>(const std::string&, const py::handle&, py::ssize_t, \
                                      const char*);                                       \
  template py::array in_place<T>(const std::string&, const py::handle&, const Dims&);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
NORMRNN_INSTANTIATE(int64_t)
NORMRNN_INSTANTIATE(bool)

std::string text_in(const std::string& name, const py::handle& object) {
  if (!py::isinstance<py::str>(object)) refuse_type(name, "a string", type_of(object));
  const char* text = PyUnicode_AsUTF8(object.ptr());
  if (!text) throw py::error_already_set();
  return text;
}

bool flag_in(const std::string& name, const py::handle& object) {
  if (!py::isinstance<py::bool_>(object) &&
      !py::isinstance(object, py::module_::import("numpy").attr("bool_"))) {
    refuse_type(name, "True or False", type_of(object));
  }
  return object.cast<bool>();
}

py::dict dict_in(const std::string& name, const py::handle& object) {
  if (!py::isinstance<py::dict>(object)) refuse_type(name, "a dict", type_of(object));
  return py::reinterpret_borrow<py::dict>(object);
}

namespace {

py::int_ integer_in(const std::string& name, const py::handle& object,
                    const std::string& expected) {
  if (!PyIndex_Check(object.ptr()) || py::isinstance<py::bool_>(object) ||
      py::isinstance<py::array>(object)) {
    refuse_type(name, expected, type_of(object));
  }
  auto number = py::reinterpret_steal<py::int_>(PyNumber_Index(object.ptr()));
  if (!number) throw py::error_already_set();
  return number;
}

}  // namespace

uint64_t seed_in(const std::string& name, const py::handle& object) {
  const std::string expected = "an integer from 0 to 2**64 - 1";
  const py::int_ number = integer_in(name, object, expected);
  const unsigned long long seed = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    refuse_value(name, expected, py::str(number));
  }
  return seed;
}

int count_in(const std::string& name, const py::handle& object, const std::string& expected) {
  const py::int_ number = integer_in(name, object, expected);
  int overflow = 0;
  const long long count = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow || count < 1 || count > kMaxThreads) {
    refuse_value(name, "an integer from 1 to " + std::to_string(kMaxThreads), py::str(number));
  }
  return int(count);
}

void restore_gil(PyThreadState* state) {
#ifdef __GLIBCXX__
  try {
    PyEval_RestoreThread(state);
  } catch (const abi::__forced_unwind&) {
    for (;;) pause();
  }
#else
  PyEval_RestoreThread(state);
#endif
}

int threads_of(const py::handle& num_threads) {
  if (num_threads.is_none()) return normrnn::num_threads();
  return count_in("num_threads", num_threads, "None or an integer");
}

}  // namespace normrnn::bindings
