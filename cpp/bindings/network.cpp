#include "network.h"

#include <algorithm>
#include <array>
#include <deque>

namespace normrnn::bindings {
namespace {

// Made once and kept: making a name again and again took longer than a step of a small network.
const py::str& name_of(ParameterKind kind, int layer, int direction) {
  // A deque, for names in use stay where they are. It outlives the interpreter.
  static std::deque<py::str>& names = *new std::deque<py::str>;
  const size_t index = size_t((layer * 2 + direction) * kKinds + int(kind));
  while (names.size() <= index) {
    const size_t next = names.size();
    names.emplace_back(std::string(kind_name(ParameterKind(next % kKinds))) + "_l" +
                       std::to_string(next / (2 * kKinds)) + (next / kKinds % 2 ? "_reverse" : ""));
  }
  return names[index];
}

// The head's, which may stand among the network's; kept, too.
const std::array<py::str, 2>& head_names() {
  static const auto& names = *new std::array<py::str, 2>{"weight_hy", "bias_hy"};
  return names;
}

py::array weight(const py::str& name, const py::object& object, bool float32, const Dims& dims) {
  if (is_ready(object, float32, dims)) return py::reinterpret_borrow<py::array>(object);
  const auto text = name.cast<std::string>();
  return float32 ? input<float>(text, object, dims) : input<double>(text, object, dims);
}

}  // namespace

Layout read_layout(const std::string& cell, const py::dict& params, const First& first,
                   const Take& take) {
  Layout net{};
  net.cell = cells()[index_of("cell", cell_names(), cell)];
  const auto has = [&](ParameterKind kind, int layer, int d) {
    return params.contains(name_of(kind, layer, d));
  };
  while (has(ParameterKind::kWeightIh, net.shape.layers, 0)) ++net.shape.layers;
  if (net.shape.layers == 0) {
    refuse_value("params", "a parameter named 'weight_ih_l0'", "none of that name");
  }
  net.shape.directions = has(ParameterKind::kWeightIh, 0, 1) ? 2 : 1;
  net.kinds = kinds_of(net.cell, has(ParameterKind::kBiasIh, 0, 0));

  const Dims lowest = first(params["weight_ih_l0"], net.float32);
  const py::ssize_t gates = net.cell.gates;
  if (lowest.size() != 2 || lowest[0] % gates || lowest[0] == 0) {
    refuse_value("weight_ih_l0", "shape (" + std::to_string(gates) + "*H, I) with H > 0",
                 text_of(lowest));
  }
  const py::ssize_t hidden = lowest[0] / gates;
  net.shape.hidden = hidden;
  net.shape.input = lowest[1];
  const size_t count = net.kinds.size() * size_t(net.shape.layers * net.shape.directions);
  net.names.reserve(count);
  net.dims.reserve(count);
  for (int layer = 0; layer < net.shape.layers; ++layer) {
    const py::ssize_t inputs = layer ? net.shape.directions * hidden : lowest[1];
    for (int d = 0; d < net.shape.directions; ++d) {
      for (const ParameterKind kind : net.kinds) {
        const py::str& name = name_of(kind, layer, d);
        const std::vector<int64_t> shape = shape_of(net.cell, kind, inputs, hidden);
        Dims dims(shape.begin(), shape.end());
        if (!params.contains(name)) {
          refuse_value("params", "a parameter named '" + name.cast<std::string>() + "'",
                       "none of that name");
        }
        take(name, params[name], net.float32, dims);  // a subclass of dict may make it just now
        net.names.push_back(name);
        net.dims.push_back(std::move(dims));
      }
    }
  }
  const auto& of_head = head_names();
  const auto given = std::count_if(of_head.begin(), of_head.end(),
                                   [&](const py::str& name) { return params.contains(name); });
  if (params.size() == net.names.size() + size_t(given)) return net;  // all of them are known
  for (const auto& item : params) {
    const std::string name = py::str(item.first);
    const auto same = [&](const py::str& known) { return known.cast<std::string>() == name; };
    if (std::none_of(net.names.begin(), net.names.end(), same) &&
        std::none_of(of_head.begin(), of_head.end(), same)) {
      refuse_value("params", "only names of this network's parameters, such as 'weight_hh_l0'",
                   "'" + name + "'");
    }
  }
  return net;
}

Network read_network(const std::string& cell, const py::dict& params) {
  Network net{};
  net.arrays.reserve(params.size());
  const auto first = [](const py::object& object, bool& float32) {
    const py::array array = as_array("weight_ih_l0", object);
    float32 = is_float32("weight_ih_l0", array);
    return dims_of(array);
  };
  const auto take = [&](const py::str& name, const py::object& object, bool float32,
                        const Dims& dims) {
    net.arrays.push_back(weight(name, object, float32, dims));
  };
  static_cast<Layout&>(net) = read_layout(cell, params, first, take);
  return net;
}

std::vector<std::string> runs_of(const Shape& shape) {
  std::vector<std::string> all;
  for (int i = 0; i < shape.layers * shape.directions; ++i) {
    std::string& name = all.emplace_back("l");
    name += std::to_string(i / shape.directions);
    if (i % shape.directions) name += "_reverse";
  }
  return all;
}

}  // namespace normrnn::bindings
