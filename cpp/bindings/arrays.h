// From NumPy arrays to checked pointers. Every refusal names the argument, what was expected and
// what came. Nothing here converts a dtype: an array is taken as it is or not at all.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "normrnn/api.h"

namespace normrnn::bindings {

namespace py = pybind11;

using Dims = std::vector<py::ssize_t>;

std::string text_of(const Dims& dims);          // "(2, 3)"
std::string type_of(const py::handle& object);  // "list"
std::string dtype_of(const py::array& array);   // "float32", or ">f4"
Dims dims_of(const py::array& array);

[[noreturn]] void refuse_type(const std::string& name, const std::string& expected,
                              const std::string& got);
[[noreturn]] void refuse_value(const std::string& name, const std::string& expected,
                               const std::string& got);

// An ndarray of any dtype and shape; TypeError for anything else, masked arrays among them.
py::array as_array(const std::string& name, const py::handle& object);

// Which of float32 and float64 an array has; TypeError for others.
bool is_float32(const std::string& name, const py::array& array);

// Whether an object is just what input() would return as it is: a plain array of this dtype and
// shape, contiguous and aligned.
bool is_ready(const py::handle& object, bool float32, const Dims& dims);

// An input of exactly this dtype and shape, contiguous: itself if it is, else a copy.
template <class T>
py::array input(const std::string& name, const py::handle& object, const Dims& dims);

// The same, where only the rank is known beforehand; `expected` says so in words.
template <class T>
py::array input_of_rank(const std::string& name, const py::handle& object, py::ssize_t rank,
                        const char* expected);

// input() of an argument that may be None: no array then, for an empty py::array is made like any.
template <class T>
std::optional<py::array> input_if_any(const std::string& name, const py::handle& object,
                                      const Dims& dims) {
  if (object.is_none()) return std::nullopt;
  return input<T>(name, object, dims);
}

// An array to be changed where it is: C-contiguous, aligned, writeable; ValueError otherwise.
template <class T>
py::array in_place(const std::string& name, const py::handle& object, const Dims& dims);

// A new array. A large one takes its memory from the core's store and gives it back in the end:
// fresh pages for every result would cost more than filling them. It does not own its data, so
// ndarray.resize refuses it.
py::array make_bytes(const py::dtype& dtype, const Dims& dims);
template <class T>
py::array_t<T> make(const Dims& dims) {
  return make_bytes(py::dtype::of<T>(), dims);
}

template <class T>
const T* data(const py::array& array) {
  return static_cast<const T*>(array.data());
}
template <class T>
const T* data_if_any(const std::optional<py::array>& array) {
  return array ? data<T>(*array) : nullptr;
}
template <class T>
T* mutable_data(py::array& array) {
  return static_cast<T*>(array.mutable_data());
}

std::string text_in(const std::string& name, const py::handle& object);
bool flag_in(const std::string& name, const py::handle& object);
py::dict dict_in(const std::string& name, const py::handle& object);
// An integer from 1 to 1024; `expected` says what else might have been.
int count_in(const std::string& name, const py::handle& object, const std::string& expected);
// An integer of 64 bits without sign.
uint64_t seed_in(const std::string& name, const py::handle& object);
int threads_of(const py::handle& num_threads);  // None: nr.get_num_threads()

// Takes the GIL back. When Python shuts down it ends a thread that asks for it, by unwinding its
// stack, in which destructors would touch objects without the GIL: such a thread sleeps instead, as
// in Python 3.14. So this is no destructor, out of which nothing may unwind.
void restore_gil(PyThreadState* state);

// Runs the core without the GIL; an interrupt becomes the Python exception that is already set.
template <class F>
void without_gil(F&& f) {
  PyThreadState* const state = PyEval_SaveThread();
  std::exception_ptr thrown;
  try {
    f();
  } catch (...) {
    thrown = std::current_exception();
  }
  restore_gil(state);
  if (!thrown) return;
  try {
    std::rethrow_exception(thrown);
  } catch (const Interrupted&) {
    throw py::error_already_set();
  }
}

}  // namespace normrnn::bindings
