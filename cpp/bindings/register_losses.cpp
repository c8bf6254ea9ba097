// Losses of rows of predictions: (sum of values, derivative times scale).
#include "arrays.h"
#include "register.h"

namespace normrnn::bindings {
namespace {

struct Problem {
  Dims dims, row_dims;
  int64_t rows = 1, columns;
  bool float32;
};

Problem read_problem(const std::string& name, const py::object& y) {
  const py::array array = as_array(name, y);
  Problem p;
  p.dims = dims_of(array);
  if (array.ndim() != 2 && array.ndim() != 3) {
    refuse_value(name, "2 or 3 dimensions", "shape " + text_of(p.dims));
  }
  p.row_dims = Dims(p.dims.begin(), p.dims.end() - 1);
  p.columns = p.dims.back();
  for (const py::ssize_t dim : p.row_dims) p.rows *= dim;
  p.float32 = is_float32(name, array);
  return p;
}

template <class T>
py::tuple element_of(ElementLoss kind, const Problem& p, const std::string& name,
                     const py::object& y_object, const py::object& target_object,
                     const py::object& mask_object, double scale, int threads) {
  const py::array y = input<T>(name, y_object, p.dims);
  const py::array target = input<T>("target", target_object, p.dims);
  const auto mask = input_if_any<bool>("mask", mask_object, p.row_dims);
  const bool* mask_data = data_if_any<bool>(mask);
  py::array_t<T> dy = make<T>(p.dims);
  T* out = dy.mutable_data();
  double sum = 0;
  without_gil([&] {
    sum = element_loss<T>(kind, data<T>(y), data<T>(target), mask_data, p.rows, p.columns, T(scale),
                          out, threads);
  });
  return py::make_tuple(sum, dy);
}

template <class T>
py::tuple softmax_of(const Problem& p, const py::object& logits_object,
                     const py::object& target_object, const py::object& mask_object, double scale,
                     int threads) {
  const py::array logits = input<T>("logits", logits_object, p.dims);
  const py::array target = input<int64_t>("target", target_object, p.row_dims);
  const auto mask = input_if_any<bool>("mask", mask_object, p.row_dims);
  const bool* mask_data = data_if_any<bool>(mask);
  // Copied, for others may write to the caller's without the GIL.
  std::vector<int64_t> labels(size_t(p.rows), -1);
  for (int64_t r = 0; r < p.rows; ++r) {
    if (mask_data && !mask_data[r]) continue;
    const int64_t label = data<int64_t>(target)[r];
    if (label < 0 || label >= p.columns) {
      refuse_value("target", "classes from 0 to " + std::to_string(p.columns - 1),
                   std::to_string(label) + " at flat index " + std::to_string(r));
    }
    labels[size_t(r)] = label;
  }
  py::array_t<T> d_logits = make<T>(p.dims);
  T* out = d_logits.mutable_data();
  double sum = 0;
  without_gil([&] {
    sum = softmax_cross_entropy<T>(data<T>(logits), labels.data(), p.rows, p.columns, T(scale), out,
                                   threads);
  });
  return py::make_tuple(sum, d_logits);
}

void define_element_loss(py::module_& m, const char* function, ElementLoss kind,
                         const std::string& name) {
  m.def(
      function,
      [kind, name](const py::object& y, const py::object& target, const py::object& mask,
                   double scale) {
        const Problem p = read_problem(name, y);
        return (p.float32 ? element_of<float> : element_of<double>)(kind, p, name, y, target, mask,
                                                                    scale, threads_of(py::none()));
      },
      py::arg("y"), py::arg("target"), py::arg("mask"), py::arg("scale"));
}

}  // namespace

void register_losses(py::module_& m) {
  define_element_loss(m, "squared_error", ElementLoss::kSquaredError, "y");
  define_element_loss(m, "sigmoid_cross_entropy", ElementLoss::kSigmoidCrossEntropy, "logits");
  m.def(
      "softmax_cross_entropy",
      [](const py::object& logits, const py::object& target, const py::object& mask, double scale) {
        const Problem p = read_problem("logits", logits);
        return (p.float32 ? softmax_of<float> : softmax_of<double>)(p, logits, target, mask, scale,
                                                                    threads_of(py::none()));
      },
      py::arg("logits"), py::arg("target"), py::arg("mask"), py::arg("scale"));
}

}  // namespace normrnn::bindings
