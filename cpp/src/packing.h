// Weights as the forward pass reads them.
#pragma once

#include <vector>

#include "sequence.h"

namespace normrnn {

// Of one direction of one layer, for operands E.
template <class T, class E>
struct PackedForward {
  Buffer<E> input[kMaxSegments], recurrent;
  Buffer<T> bias;
};

template <class T>
class PackedWeights {
 public:
  std::vector<PackedForward<T, T>> directions;  // [L*D]
};

template <class T, class E>
PackedForward<T, E> pack_direction(const cpu::CellKernels<T>& cell, const Weights<T>& w,
                                   const Shape& shape, int layer, int threads);

}  // namespace normrnn
