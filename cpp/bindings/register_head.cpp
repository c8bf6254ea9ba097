// Output head on arrays [..., inputs].
#include "arrays.h"
#include "register.h"

namespace normrnn::bindings {
namespace {

struct Head {
  bool float32;
  HeadShape shape;
  Dims h_dims, y_dims;
};

Head read_head(const py::object& h, const py::object& w) {
  const py::array weight = as_array("weight_hy", w), hidden = as_array("h", h);
  Head head{is_float32("weight_hy", weight), {}, dims_of(hidden), dims_of(hidden)};
  if (weight.ndim() != 2) refuse_value("weight_hy", "2 dimensions", text_of(dims_of(weight)));
  if (hidden.ndim() < 1 || hidden.shape(hidden.ndim() - 1) != weight.shape(1)) {
    refuse_value("h", "last length " + std::to_string(weight.shape(1)) + ", that of weight_hy",
                 "shape " + text_of(head.h_dims));
  }
  head.shape = {1, weight.shape(1), weight.shape(0)};
  for (size_t i = 0; i + 1 < head.h_dims.size(); ++i) head.shape.rows *= head.h_dims[i];
  head.y_dims.back() = weight.shape(0);
  return head;
}

template <class T>
py::array forward_of(const Head& head, const py::object& h, const py::object& w,
                     const py::object& b, int threads) {
  const py::array in = input<T>("h", h, head.h_dims);
  const py::array weight = input<T>("weight_hy", w, {head.shape.outputs, head.shape.inputs});
  const auto bias = input_if_any<T>("bias_hy", b, {head.shape.outputs});
  py::array_t<T> y = make<T>(head.y_dims);
  T* out = y.mutable_data();
  without_gil([&] {
    head_forward<T>(head.shape, data<T>(in), data<T>(weight), data_if_any<T>(bias), out, threads);
  });
  return y;
}

template <class T>
py::tuple backward_of(const Head& head, const py::object& h, const py::object& w,
                      const py::object& b, const py::object& dy_object, int threads) {
  const py::array in = input<T>("h", h, head.h_dims);
  const py::array weight = input<T>("weight_hy", w, {head.shape.outputs, head.shape.inputs});
  const auto bias = input_if_any<T>("bias_hy", b, {head.shape.outputs});
  const py::array dy = input<T>("dy", dy_object, head.y_dims);
  py::array_t<T> dh = make<T>(head.h_dims);
  py::array_t<T> dw = make<T>({head.shape.outputs, head.shape.inputs});
  py::array_t<T> db = make<T>({head.shape.outputs});
  T *dh_out = dh.mutable_data(), *dw_out = dw.mutable_data(), *db_out = db.mutable_data();
  without_gil([&] {
    head_backward<T>(head.shape, data<T>(in), data<T>(weight), data<T>(dy), dh_out, dw_out, db_out,
                     threads);
  });
  return py::make_tuple(dh, dw, bias ? py::object(db) : py::none());
}

}  // namespace

void register_head(py::module_& m) {
  m.def(
      "head_forward",
      [](const py::object& h, const py::object& w, const py::object& b, const py::object& threads) {
        const Head head = read_head(h, w);
        return (head.float32 ? forward_of<float> : forward_of<double>)(head, h, w, b,
                                                                       threads_of(threads));
      },
      py::arg("h"), py::arg("weight_hy"), py::arg("bias_hy"), py::arg("num_threads"));
  m.def(
      "head_backward",
      [](const py::object& h, const py::object& w, const py::object& b, const py::object& dy,
         const py::object& threads) {
        const Head head = read_head(h, w);
        return (head.float32 ? backward_of<float> : backward_of<double>)(head, h, w, b, dy,
                                                                         threads_of(threads));
      },
      py::arg("h"), py::arg("weight_hy"), py::arg("bias_hy"), py::arg("dy"),
      py::arg("num_threads"));
}

}  // namespace normrnn::bindings
