// The parameters of a recurrent network, read from a dict with PyTorch's names.
#pragma once

#include "arrays.h"
#include "normrnn/registry.h"

namespace normrnn::bindings {

struct Network {
  CellFacts cell;
  Shape shape;  // times and batch left 0
  bool float32;
  std::vector<Kind> kinds;        // of the parameters of each direction of each layer
  std::vector<py::str> names;     // layer by layer, direction by direction, kind by kind
  std::vector<py::array> arrays;  // contiguous, in the order of names
  std::vector<Dims> dims;
};

// Checks every name, dtype and shape. A weight that is not contiguous is copied.
Network read_network(const std::string& cell, const py::dict& params);

// The pointers, one set per layer and direction; Out is Weights<T> or WeightGradients<T>.
template <class Out, class Pointer>
std::vector<Out> by_direction(const Network& net, Pointer&& pointer) {
  static constexpr decltype(&Out::ih) kMembers[kKinds] = {
      &Out::ih,      &Out::hh,      &Out::b_ih,   &Out::b_hh,
      &Out::gain_ih, &Out::gain_hh, &Out::gain_c, &Out::b_c};
  std::vector<Out> all;
  for (int i = 0; i < int(net.names.size());) {
    Out one;
    for (const Kind kind : net.kinds) one.*kMembers[int(kind)] = pointer(i++);
    all.push_back(one);
  }
  return all;
}

}  // namespace normrnn::bindings
