// The parameters of a recurrent network, read from a dict with PyTorch's names.
#pragma once

#include <functional>

#include "arrays.h"
#include "normrnn/registry.h"

namespace normrnn::bindings {

struct Layout {
  CellFacts cell;
  Shape shape;  // times and batch left 0
  bool float32;
  std::vector<ParameterKind> kinds;  // of the parameters of each direction of each layer
  std::vector<py::str> names;        // layer by layer, direction by direction, kind by kind
  std::vector<Dims> dims;
};
struct Network : Layout {
  std::vector<py::array> arrays;  // contiguous, in the order of names
};

// Checks every name. first says what weight_ih_l0 is, and sets float32; take gets every parameter
// in turn, with the shape that it must have.
using First = std::function<Dims(const py::object& object, bool& float32)>;
using Take = std::function<void(const py::str& name, const py::object& object, bool float32,
                                const Dims& dims)>;
Layout read_layout(const std::string& cell, const py::dict& params, const First& first,
                   const Take& take);

// Checks every name, dtype and shape. A weight that is not contiguous is copied.
Network read_network(const std::string& cell, const py::dict& params);

// The pointers, one set per layer and direction; Out is Weights<T> or WeightGradients<T>.
template <class Out, class Pointer>
std::vector<Out> by_direction(const Layout& net, Pointer&& pointer) {
  static constexpr decltype(&Out::ih) kMembers[kKinds] = {
      &Out::ih,      &Out::hh,      &Out::b_ih,   &Out::b_hh,
      &Out::gain_ih, &Out::gain_hh, &Out::gain_c, &Out::b_c};
  std::vector<Out> all;
  for (int i = 0; i < int(net.names.size());) {
    Out one;
    for (const ParameterKind kind : net.kinds) one.*kMembers[int(kind)] = pointer(i++);
    all.push_back(one);
  }
  return all;
}

inline Dims state_dims(const Shape& s) {
  return {s.layers * s.directions, py::ssize_t(s.batch), py::ssize_t(s.hidden)};
}
inline Dims sequence_dims(const Shape& s, bool batch_first, int64_t width) {
  if (batch_first) return {s.batch, s.times, width};
  return {s.times, s.batch, width};
}
// What a sequence must have before its lengths can be read.
inline const char* sequence_rank(bool batch_first) {
  return batch_first ? "3 dimensions, [B, T, I] (T = 1 for one step)"
                     : "3 dimensions, [T, B, I] (T = 1 for one step)";
}

// Name of each direction of each layer, as in the names of its parameters: "l0", "l0_reverse",
// "l1".
std::vector<std::string> runs_of(const Shape& shape);

}  // namespace normrnn::bindings
