// forward and backward on arrays in the memory of a GPU.
#include <pybind11/stl.h>

#include <variant>

#include "device_arrays.h"
#include "network.h"
#include "options.h"
#include "register.h"

namespace normrnn::bindings {
namespace {

using SharedArray = std::shared_ptr<DeviceArray>;

struct DeviceNetwork : Layout {
  std::vector<DeviceView> arrays;  // in the order of names
};

// A tape with the weights that it refers to. What it needs to go comes before it.
struct DeviceTape {
  cuda::Stream stream;  // of the last pass, in whose order its memory goes
  py::object stream_owner;
  DeviceNetwork net;
  bool batch_first;
  std::vector<int64_t> lengths;  // [B]
  py::object library;            // Python's own: what kind of arrays to answer with
  std::variant<std::shared_ptr<const cuda::Tape<float>>, std::shared_ptr<const cuda::Tape<double>>>
      tape;
};

DeviceNetwork read_device_network(const std::string& cell, const py::dict& params,
                                  DeviceScope& scope) {
  DeviceNetwork net{};
  const auto first = [&](const py::object& object, bool& float32) {
    const DeviceView view = scope.look("weight_ih_l0", object);
    float32 = is_float32("weight_ih_l0", view);
    return view.dims;
  };
  const auto take = [&](const py::str& name, const py::object& object, bool float32,
                        const Dims& dims) {
    const auto text = name.cast<std::string>();
    net.arrays.push_back(float32 ? scope.input<float>(text, object, dims)
                                 : scope.input<double>(text, object, dims));
  };
  static_cast<Layout&>(net) = read_layout(cell, params, first, take);
  return net;
}

cuda::Precision precision_in(const py::object& given, const Layout& net) {
  static const std::vector<std::string> names = {"float32", "tf32", "bfloat16", "float16"};
  if (given.is_none()) return cuda::Precision::kFull;
  const std::string name = text_in("precision", given);
  const auto precision = cuda::Precision(index_of("precision", names, name));
  if (!net.float32) refuse_value("precision", "None for float64 parameters", "'" + name + "'");
  return precision;
}

// Argument h0, c0 or dh_n, dc_n; empty where left out.
template <class T>
std::vector<DeviceView> read_states(const char* const (&names)[2], const py::object& h,
                                    const py::object& c, const Layout& net, DeviceScope& scope) {
  check_second_state(names[1], c, net);
  std::vector<DeviceView> views(size_t(net.cell.states));
  const py::object* given[] = {&h, &c};
  for (int s = 0; s < net.cell.states && s < 2; ++s) {
    if (given[s]->is_none()) continue;
    views[size_t(s)] = scope.input<T>(names[s], *given[s], state_dims(net.shape));
  }
  return views;
}

template <class T>
std::vector<const T*> pointers(const std::vector<DeviceView>& views) {
  std::vector<const T*> all;
  for (const DeviceView& view : views) all.push_back(static_cast<const T*>(view.data));
  return all;
}

struct ForwardOptions {
  py::object h0, c0, lengths, library;
  bool batch_first, need_grad;
  cuda::Precision precision;
  Dropout dropout;
};

template <class T>
py::tuple forward_of(DeviceNetwork net, const DeviceView& x, const ForwardOptions& options,
                     DeviceScope& scope) {
  if (x.dtype != net.arrays[0].dtype) refuse_type("x", "dtype " + net.arrays[0].dtype, x.dtype);
  if (x.dims.size() != 3) {
    refuse_value("x", sequence_rank(options.batch_first), "shape " + text_of(x.dims));
  }
  Shape& shape = net.shape;
  take_dims(x.dims, options.batch_first, shape);
  const auto initial = read_states<T>({"h0", "c0"}, options.h0, options.c0, net, scope);
  std::vector<int64_t> lengths = lengths_in(options.lengths, shape);
  ForwardCall<T> call;
  call.cell = net.cell.name;
  call.shape = shape;
  call.weights = by_direction<Weights<T>>(
      net, [&](int i) { return static_cast<const T*>(net.arrays[size_t(i)].data); });
  call.x = static_cast<const T*>(x.data);
  call.batch_first = options.batch_first;
  if (!lengths.empty()) call.lengths = lengths.data();
  call.initial = pointers<T>(initial);
  const SharedArray y =
      make_on<T>(scope, sequence_dims(shape, options.batch_first, shape.directions * shape.hidden));
  call.y = data_of<T>(y);
  py::tuple states(size_t(net.cell.states));
  for (size_t s = 0; s < size_t(net.cell.states); ++s) {
    const SharedArray final = make_on<T>(scope, state_dims(shape));
    call.final.push_back(data_of<T>(final));
    states[s] = final;
  }
  call.need_grad = options.need_grad;
  call.dropout = options.dropout;
  std::shared_ptr<const cuda::Tape<T>> tape;
  without_gil([&] { tape = cuda::forward(call, options.precision, scope.stream()); });
  py::object handle = py::none();
  if (tape) {
    if (lengths.empty()) lengths.assign(size_t(shape.batch), shape.times);
    handle = py::cast(std::make_unique<DeviceTape>(
        DeviceTape{scope.stream(), scope.stream_owner(), std::move(net), options.batch_first,
                   std::move(lengths), options.library, std::move(tape)}));
  }
  return py::make_tuple(y, states, handle);
}

py::tuple device_forward(const py::object& cell, const py::object& x_object,
                         const py::object& params, const py::object& h0, const py::object& c0,
                         const py::object& lengths, const py::object& batch_first,
                         const py::object& need_grad, const py::object& precision,
                         const py::object& dropout, const py::object& seed,
                         const py::object& training, const py::object& stream,
                         const py::object& stream_owner, const py::object& library) {
  DeviceScope scope(stream, stream_owner);
  const DeviceView x = scope.look("x", x_object);
  DeviceNetwork net = read_device_network(text_in("cell", cell), dict_in("params", params), scope);
  ForwardOptions options{h0,
                         c0,
                         lengths,
                         library,
                         flag_in("batch_first", batch_first),
                         flag_in("need_grad", need_grad),
                         precision_in(precision, net),
                         {}};
  options.dropout =
      dropout_in(dropout, seed, flag_in("training", training), net, false, options.need_grad);
  const auto run = net.float32 ? forward_of<float> : forward_of<double>;
  return run(std::move(net), x, options, scope);
}

template <class T>
py::tuple backward_of(const cuda::Tape<T>& tape, const DeviceTape& handle, const py::object& dy,
                      const py::object& dh_n, const py::object& dc_n,
                      const py::object& state_penalty, const py::object& clip_state,
                      DeviceScope& scope) {
  const Layout& net = handle.net;
  const Shape& shape = net.shape;
  BackwardCall<T> call{};
  DeviceView dy_view;
  if (!dy.is_none()) {
    dy_view = scope.input<T>(
        "dy", dy, sequence_dims(shape, handle.batch_first, shape.directions * shape.hidden));
    call.dy = static_cast<const T*>(dy_view.data);
  }
  const auto d_final = read_states<T>({"dh_n", "dc_n"}, dh_n, dc_n, net, scope);
  call.d_final = pointers<T>(d_final);
  call.penalties = read_state_penalties(state_penalty);

  std::vector<SharedArray> gradients;
  py::dict params;
  for (size_t i = 0; i < net.names.size(); ++i) {
    gradients.push_back(make_on<T>(scope, net.dims[i]));
    params[net.names[i]] = gradients.back();
  }
  call.d = by_direction<WeightGradients<T>>(
      net, [&](int i) { return data_of<T>(gradients[size_t(i)]); });
  const SharedArray dx = make_on<T>(scope, sequence_dims(shape, handle.batch_first, shape.input));
  call.dx = data_of<T>(dx);
  py::tuple d_initial(size_t(net.cell.states));
  for (size_t s = 0; s < size_t(net.cell.states); ++s) {
    const SharedArray d = make_on<T>(scope, state_dims(shape));
    call.d_initial.push_back(data_of<T>(d));
    d_initial[s] = d;
  }
  const Dims per_step = {shape.layers * shape.directions, py::ssize_t(shape.times)};
  const SharedArray h_norm = make_on<T>(scope, per_step);
  call.h_norm = data_of<T>(h_norm);
  SharedArray h_norm_clipped = h_norm;
  if (!clip_state.is_none()) {
    call.clip_state = clip_state.cast<double>();
    h_norm_clipped = make_on<T>(scope, per_step);
    call.h_norm_clipped = data_of<T>(h_norm_clipped);
  }
  const SharedArray penalty = make_on<T>(scope, {1});
  without_gil([&] { cuda::backward(tape, call, data_of<T>(penalty), scope.stream()); });
  return py::make_tuple(params, dx, d_initial, h_norm, h_norm_clipped, penalty);
}

py::tuple device_backward(DeviceTape& handle, const py::object& dy, const py::object& dh_n,
                          const py::object& dc_n, const py::object& state_penalty,
                          const py::object& clip_state, const py::object& stream,
                          const py::object& stream_owner) {
  DeviceScope scope(stream, stream_owner);
  scope.stay_on(handle.stream, handle.stream_owner, "the tape");
  const py::tuple results = std::visit(
      [&](const auto& tape) {
        return backward_of(*tape, handle, dy, dh_n, dc_n, state_penalty, clip_state, scope);
      },
      handle.tape);
  handle.stream = scope.stream();
  handle.stream_owner = scope.stream_owner();
  return results;
}

}  // namespace

void register_device_sequence(py::module_& m) {
  py::class_<DeviceTape>(m, "DeviceTape", py::is_final(), not_from_python())
      .def_property_readonly("cell", [](const DeviceTape& tape) { return tape.net.cell.name; })
      .def_property_readonly("runs", [](const DeviceTape& tape) { return runs_of(tape.net.shape); })
      .def_property_readonly("layers", [](const DeviceTape& tape) { return tape.net.shape.layers; })
      .def_property_readonly("directions",
                             [](const DeviceTape& tape) { return tape.net.shape.directions; })
      .def_property_readonly("lengths",
                             [](const DeviceTape& tape) {
                               auto lengths = make<int64_t>({py::ssize_t(tape.lengths.size())});
                               std::copy(tape.lengths.begin(), tape.lengths.end(),
                                         lengths.mutable_data());
                               return lengths;
                             })
      .def_property_readonly("device",
                             [](const DeviceTape& tape) { return device_text(tape.stream.device); })
      .def_property_readonly("library", [](const DeviceTape& tape) { return tape.library; })
      .def_property_readonly("nbytes", [](const DeviceTape& handle) {
        return std::visit([](const auto& tape) { return cuda::bytes_of(*tape); }, handle.tape);
      });
  m.def("device_forward", device_forward, py::arg("cell"), py::arg("x"), py::arg("params"),
        py::arg("h0"), py::arg("c0"), py::arg("lengths"), py::arg("batch_first"),
        py::arg("need_grad"), py::arg("precision"), py::arg("dropout"), py::arg("seed"),
        py::arg("training"), py::arg("stream"), py::arg("stream_owner"), py::arg("library"));
  m.def("device_backward", device_backward, py::arg("tape"), py::arg("dy"), py::arg("dh_n"),
        py::arg("dc_n"), py::arg("state_penalty"), py::arg("clip_state"), py::arg("stream"),
        py::arg("stream_owner"));
}

}  // namespace normrnn::bindings
