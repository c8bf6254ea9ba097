// The parameters of a recurrent network, read from a dict with PyTorch's names.
#pragma once

#include "arrays.h"
#include "normrnn/registry.h"

namespace normrnn::bindings {

struct Network {
  CellFacts cell;
  Shape shape;  // times and batch left 0
  bool bias;
  bool float32;
  std::vector<py::str> names;     // layer by layer, direction by direction: ih, hh, [b_ih, b_hh]
  std::vector<py::array> arrays;  // contiguous, in the order of names
  std::vector<Dims> dims;

  int per_direction() const { return bias ? 4 : 2; }
};

// Checks every name, dtype and shape. A weight that is not contiguous is copied.
Network read_network(const std::string& cell, const py::dict& params);

// The pointers, one set per layer and direction; Out is Weights<T> or WeightGradients<T>.
template <class Out, class Pointer>
std::vector<Out> by_direction(const Network& net, Pointer&& pointer) {
  std::vector<Out> all;
  const int step = net.per_direction();
  for (int i = 0; i < int(net.names.size()); i += step) {
    Out one;
    one.ih = pointer(i);
    one.hh = pointer(i + 1);
    if (net.bias) {
      one.b_ih = pointer(i + 2);
      one.b_hh = pointer(i + 3);
    }
    all.push_back(one);
  }
  return all;
}

}  // namespace normrnn::bindings
