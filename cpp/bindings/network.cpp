#include "network.h"

#include <algorithm>

namespace normrnn::bindings {
namespace {

constexpr const char* kKinds[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};

std::string name_of(int kind, int layer, int direction) {
  return std::string(kKinds[kind]) + "_l" + std::to_string(layer) + (direction ? "_reverse" : "");
}

py::array weight(const std::string& name, const py::dict& params, bool float32, const Dims& dims) {
  if (!params.contains(name)) {
    refuse_value("params", "a parameter named '" + name + "'", "none of that name");
  }
  const py::object object = params[name.c_str()];  // a subclass may make it just now
  return float32 ? input<float>(name, object, dims) : input<double>(name, object, dims);
}

}  // namespace

Network read_network(const std::string& cell, const py::dict& params) {
  Network net{};
  net.cell = cells()[index_of("cell", cell_names(), cell)];
  const auto has = [&](int kind, int layer, int d) {
    return params.contains(name_of(kind, layer, d));
  };
  while (has(0, net.shape.layers, 0)) ++net.shape.layers;
  if (net.shape.layers == 0) {
    refuse_value("params", "a parameter named 'weight_ih_l0'", "none of that name");
  }
  net.shape.directions = has(0, 0, 1) ? 2 : 1;
  net.bias = has(2, 0, 0);

  const py::array first = as_array("weight_ih_l0", params["weight_ih_l0"]);
  net.float32 = is_float32("weight_ih_l0", first);
  const py::ssize_t gates = net.cell.gates;
  if (first.ndim() != 2 || first.shape(0) % gates || first.shape(0) == 0) {
    refuse_value("weight_ih_l0", "shape (" + std::to_string(gates) + "*H, I) with H > 0",
                 text_of(dims_of(first)));
  }
  const py::ssize_t hidden = first.shape(0) / gates, rows = first.shape(0);
  net.shape.hidden = hidden;
  net.shape.input = first.shape(1);
  for (int layer = 0; layer < net.shape.layers; ++layer) {
    const py::ssize_t inputs = layer ? net.shape.directions * hidden : first.shape(1);
    for (int d = 0; d < net.shape.directions; ++d) {
      const Dims dims[] = {{rows, inputs}, {rows, hidden}, {rows}, {rows}};
      for (int kind = 0; kind < net.per_direction(); ++kind) {
        const std::string name = name_of(kind, layer, d);
        net.arrays.push_back(weight(name, params, net.float32, dims[kind]));
        net.names.push_back(name);
        net.dims.push_back(dims[kind]);
      }
    }
  }
  for (const auto& item : params) {
    const std::string name = py::str(item.first);
    if (name == "weight_hy" || name == "bias_hy") continue;  // the head's own
    if (std::find(net.names.begin(), net.names.end(), name) == net.names.end()) {
      refuse_value("params", "only names of this network's parameters, such as 'weight_hh_l0'",
                   "'" + name + "'");
    }
  }
  return net;
}

}  // namespace normrnn::bindings
