// forward and backward: NumPy arrays in, NumPy arrays out.
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <variant>

#include "arrays.h"
#include "network.h"
#include "options.h"
#include "register.h"
#include "tape_arrays.h"

namespace normrnn::bindings {
namespace {

// A tape with the arrays that it refers to.
struct TapeHandle {
  std::variant<std::shared_ptr<const Tape<float>>, std::shared_ptr<const Tape<double>>> tape;
  Network net;
  bool batch_first;
};

// Weights that nobody can change, read and packed once.
struct Frozen {
  Network net;
  std::shared_ptr<const PackedWeights<float>> f32;
  std::shared_ptr<const PackedWeights<double>> f64;
  template <class T>
  const std::shared_ptr<const PackedWeights<T>>& packed() const {
    if constexpr (std::is_same_v<T, float>) {
      return f32;
    } else {
      return f64;
    }
  }
};

// The states' names in the order of the cell: argument h0, c0 or dh_n, dc_n.
template <class T>
std::vector<std::optional<py::array>> read_states(const char* const (&names)[2],
                                                  const py::object& h, const py::object& c,
                                                  const Network& net) {
  check_second_state(names[1], c, net);
  std::vector<std::optional<py::array>> arrays(size_t(net.cell.states));
  const py::object* given[] = {&h, &c};
  for (int s = 0; s < net.cell.states && s < 2; ++s) {
    arrays[s] = input_if_any<T>(names[s], *given[s], state_dims(net.shape));
  }
  return arrays;
}

template <class T>
std::vector<const T*> pointers(const std::vector<std::optional<py::array>>& arrays) {
  std::vector<const T*> all;
  for (const auto& array : arrays) all.push_back(data_if_any<T>(array));
  return all;
}

template <class T>
std::vector<Weights<T>> weights_of(const Network& net) {
  return by_direction<Weights<T>>(net, [&](int i) { return data<T>(net.arrays[size_t(i)]); });
}

// Whether products take operands in bfloat16.
bool bf16_in(const py::object& precision, const Network& net) {
  if (precision.is_none()) return false;
  const std::string name = text_in("precision", precision);
  if (name != "bfloat16") refuse_value("precision", "None or 'bfloat16'", "'" + name + "'");
  if (!net.float32) refuse_value("precision", "None for float64 parameters", "'bfloat16'");
  return true;
}

std::unique_ptr<Frozen> freeze(const py::object& cell, const py::object& params,
                               const py::object& precision) {
  auto frozen = std::make_unique<Frozen>();
  frozen->net = read_network(text_in("cell", cell), dict_in("params", params));
  const Network& net = frozen->net;
  for (size_t i = 0; i < net.arrays.size(); ++i) {
    if (net.arrays[i].writeable()) {
      refuse_value(net.names[i].cast<std::string>(), "a read-only array", "a writeable one");
    }
  }
  const bool bf16 = bf16_in(precision, net);
  const int threads = threads_of(py::none());
  without_gil([&] {
    if (net.float32) {
      frozen->f32 = pack_weights(net.cell.name, net.shape, weights_of<float>(net), bf16, threads);
    } else {
      frozen->f64 = pack_weights(net.cell.name, net.shape, weights_of<double>(net), bf16, threads);
    }
  });
  return frozen;
}

template <class T>
py::tuple forward_of(Network net, const Frozen* frozen, const py::object& x_object,
                     const py::object& h0, const py::object& c0, const py::object& lengths_object,
                     bool batch_first, bool need_grad, bool bf16, const Dropout& dropout,
                     int threads) {
  const py::array x = input_of_rank<T>("x", x_object, 3, sequence_rank(batch_first));
  Shape& shape = net.shape;
  take_dims(dims_of(x), batch_first, shape);
  const auto initial = read_states<T>({"h0", "c0"}, h0, c0, net);
  const std::vector<int64_t> lengths = lengths_in(lengths_object, shape);
  py::array_t<T> y = make<T>(sequence_dims(shape, batch_first, shape.directions * shape.hidden));
  ForwardCall<T> call;
  call.cell = net.cell.name;
  call.shape = shape;
  call.weights = weights_of<T>(net);
  if (frozen) call.packed = frozen->packed<T>();
  call.x = data<T>(x);
  call.batch_first = batch_first;
  if (!lengths.empty()) call.lengths = lengths.data();
  call.initial = pointers<T>(initial);
  call.y = y.mutable_data();
  py::tuple states(static_cast<size_t>(net.cell.states));
  for (int s = 0; s < net.cell.states; ++s) {
    py::array_t<T> final = make<T>(state_dims(shape));
    call.final.push_back(final.mutable_data());
    states[s] = final;
  }
  call.need_grad = need_grad;
  call.bf16 = bf16;
  call.dropout = dropout;
  call.threads = threads;
  std::shared_ptr<const Tape<T>> tape;
  without_gil([&] { tape = forward(call); });
  py::object handle = py::none();
  if (tape) {
    handle = py::cast(
        std::make_unique<TapeHandle>(TapeHandle{std::move(tape), std::move(net), batch_first}));
  }
  return py::make_tuple(y, states, handle);
}

py::tuple forward_any(const py::object& cell, const py::object& x, const py::object& params,
                      const py::object& h0, const py::object& c0, const py::object& lengths,
                      const py::object& first, const py::object& grad, const py::object& precision,
                      const py::object& num_threads, const py::object& dropout_object,
                      const py::object& seed, const py::object& training) {
  const Frozen* frozen = py::isinstance<Frozen>(params) ? params.cast<const Frozen*>() : nullptr;
  Network net;
  if (frozen) {
    net = frozen->net;
    if (text_in("cell", cell) != net.cell.name) {
      refuse_value("cell", "'" + net.cell.name + "', which the params were frozen for",
                   "'" + text_in("cell", cell) + "'");
    }
  } else {
    net = read_network(text_in("cell", cell), dict_in("params", params));
  }
  const bool batch_first = flag_in("batch_first", first), need_grad = flag_in("need_grad", grad);
  const bool bf16 = bf16_in(precision, net);
  const int threads = threads_of(num_threads);
  const Dropout dropout = dropout_in(dropout_object, seed, flag_in("training", training), net,
                                     frozen != nullptr, need_grad);
  const auto run = net.float32 ? forward_of<float> : forward_of<double>;
  return run(std::move(net), frozen, x, h0, c0, lengths, batch_first, need_grad, bf16, dropout,
             threads);
}

template <class T>
py::tuple backward_of(const Tape<T>& tape, const TapeHandle& handle, const py::object& dy_object,
                      const py::object& dh_n, const py::object& dc_n,
                      const py::object& state_penalty, const py::object& clip_state, int threads) {
  const Network& net = handle.net;
  const Shape& shape = net.shape;
  BackwardCall<T> call{};
  const auto dy = input_if_any<T>(
      "dy", dy_object, sequence_dims(shape, handle.batch_first, shape.directions * shape.hidden));
  call.dy = data_if_any<T>(dy);
  const auto d_final = read_states<T>({"dh_n", "dc_n"}, dh_n, dc_n, net);
  call.d_final = pointers<T>(d_final);

  std::vector<py::array_t<T>> gradients;
  py::dict params;
  for (size_t i = 0; i < net.names.size(); ++i) {
    gradients.push_back(make<T>(net.dims[i]));
    params[net.names[i]] = gradients.back();
  }
  call.d =
      by_direction<WeightGradients<T>>(net, [&](int i) { return gradients[i].mutable_data(); });
  py::array_t<T> dx = make<T>(sequence_dims(shape, handle.batch_first, shape.input));
  call.dx = dx.mutable_data();
  py::tuple d_initial(static_cast<size_t>(net.cell.states));
  for (int s = 0; s < net.cell.states; ++s) {
    py::array_t<T> d = make<T>(state_dims(shape));
    call.d_initial.push_back(d.mutable_data());
    d_initial[s] = d;
  }
  py::array_t<T> h_norm = make<T>({shape.layers * shape.directions, py::ssize_t(shape.times)});
  call.h_norm = h_norm.mutable_data();
  call.penalties = read_state_penalties(state_penalty);
  py::array_t<T> h_norm_clipped = h_norm;
  if (!clip_state.is_none()) {
    call.clip_state = clip_state.cast<double>();
    h_norm_clipped = make<T>({shape.layers * shape.directions, py::ssize_t(shape.times)});
    call.h_norm_clipped = h_norm_clipped.mutable_data();
  }
  call.threads = threads;
  double penalty = 0;
  without_gil([&] { penalty = backward(tape, call); });
  return py::make_tuple(params, dx, d_initial, h_norm, h_norm_clipped, penalty);
}

py::tuple backward_any(const py::object& tape_object, const py::object& dy, const py::object& dh_n,
                       const py::object& dc_n, const py::object& state_penalty,
                       const py::object& clip_state, const py::object& num_threads) {
  if (!py::isinstance<TapeHandle>(tape_object)) {
    refuse_type("tape", "the tape of a forward pass with need_grad=True", type_of(tape_object));
  }
  const TapeHandle& handle = tape_object.cast<const TapeHandle&>();
  const int threads = threads_of(num_threads);
  return std::visit(
      [&](const auto& tape) {
        return backward_of(*tape, handle, dy, dh_n, dc_n, state_penalty, clip_state, threads);
      },
      handle.tape);
}

}  // namespace

void register_sequence(py::module_& m) {
  py::class_<TapeHandle>(m, "Tape", py::is_final(), not_from_python())
      .def_property_readonly("cell", [](const TapeHandle& tape) { return tape.net.cell.name; })
      .def_property_readonly("runs", [](const TapeHandle& tape) { return runs_of(tape.net.shape); })
      .def_property_readonly("nbytes",
                             [](const TapeHandle& handle) {
                               return std::visit([](const auto& tape) { return bytes_of(*tape); },
                                                 handle.tape);
                             })
      .def_property_readonly("layers", [](const TapeHandle& tape) { return tape.net.shape.layers; })
      .def_property_readonly("directions",
                             [](const TapeHandle& tape) { return tape.net.shape.directions; })
      .def_property_readonly("lengths",
                             [](const TapeHandle& handle) {
                               const auto lengths = [](const auto& tape) {
                                 return tape_lengths(tape->shape, tape->schedule);
                               };
                               return std::visit(lengths, handle.tape);
                             })
      .def(
          "states",
          [](const TapeHandle& handle, const py::object& layer, const py::object& d) {
            return std::visit([&](const auto& tape) { return tape_states(*tape, layer, d); },
                              handle.tape);
          },
          py::arg("layer"), py::arg("direction") = 0)
      .def(
          "gates",
          [](const TapeHandle& handle, const py::object& layer, const py::object& d) {
            return std::visit([&](const auto& tape) { return tape_gates(*tape, layer, d); },
                              handle.tape);
          },
          py::arg("layer"), py::arg("direction") = 0);
  py::class_<Frozen>(m, "Frozen", py::is_final(), not_from_python());
  m.def("freeze", freeze, py::arg("cell"), py::arg("params"), py::arg("precision"));
  m.def("forward", forward_any, py::arg("cell"), py::arg("x"), py::arg("params"), py::arg("h0"),
        py::arg("c0"), py::arg("lengths"), py::arg("batch_first"), py::arg("need_grad"),
        py::arg("precision"), py::arg("num_threads"), py::arg("dropout"), py::arg("seed"),
        py::arg("training"));
  m.def("backward", backward_any, py::arg("tape"), py::arg("dy"), py::arg("dh_n"), py::arg("dc_n"),
        py::arg("state_penalty"), py::arg("clip_state"), py::arg("num_threads"));
}

}  // namespace normrnn::bindings
