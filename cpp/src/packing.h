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
  std::vector<PackedForward<T, T>> same;  // [L*D] each, one of them filled
  std::vector<PackedForward<T, cpu::Bf16Pair>> bf16;

  template <class E>
  const PackedForward<T, E>* direction(int index) const {  // null if packed for other operands
    if constexpr (cpu::kNumbersIn<E> == 1) {
      return same.empty() ? nullptr : &same[size_t(index)];
    } else {
      return bf16.empty() ? nullptr : &bf16[size_t(index)];
    }
  }
};

template <class T, class E>
PackedForward<T, E> pack_direction(const cpu::CellKernels<T>& cell, const Weights<T>& w,
                                   const Shape& shape, int layer, int threads);

}  // namespace normrnn
