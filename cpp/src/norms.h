// Layer norm for the drivers: parameters in the order in which the kernels take them.
#pragma once

#include <algorithm>

#include "tape.h"

namespace normrnn {

// The place among those that the input saw of a gate; see cells/cell.h.
template <class T>
int place_of_input(const cpu::CellKernels<T>& cell, int gate) {
  const int shared = cell.gates - cell.split;
  return gate < shared ? cell.split + gate : gate - shared;
}

// Sets width, gain and bias of each norm; the memory returned holds them. A null bias is zeros.
template <class T>
Buffer<T> norm_parameters(const cpu::CellKernels<T>& cell, const Weights<T>& w, int64_t hidden,
                          cpu::LayerNorms<T>& norms) {
  const int64_t rows = cell.gates * hidden, inner = cell.inner * hidden;
  Buffer<T> all(product(2, 2 * rows + inner));
  T* to = all.get();
  const auto take = [&](const T* from, int64_t count, bool input) {
    if (!from) {
      std::fill_n(to, count, T(0));
    } else if (input) {
      for (int g = 0; g < cell.gates; ++g) {
        std::copy_n(from + g * hidden, hidden, to + place_of_input(cell, g) * hidden);
      }
    } else {
      std::copy_n(from, count, to);
    }
    to += count;
    return to - count;
  };
  const T* given[cpu::kNormKinds][2] = {
      {w.gain_ih, w.b_ih}, {w.gain_hh, w.b_hh}, {w.gain_c, w.b_c}};
  for (int kind = 0; kind < cpu::kNormKinds; ++kind) {
    cpu::Norm<T>& norm = norms.of[kind];
    norm.width = kind == cpu::kStateNorm ? inner : rows;
    if (norm.width == 0) continue;
    norm.gain = take(given[kind][0], norm.width, kind == cpu::kInputNorm);
    norm.bias = take(given[kind][1], norm.width, kind == cpu::kInputNorm);
  }
  return all;
}

// Points the norms at what a layer's tape keeps. The forward pass writes there, the backward pass
// reads.
template <class T>
void norm_rows_of(const LayerTape<T>& own, int lanes, cpu::LayerNorms<T>& norms) {
  for (int kind = 0; kind < cpu::kNormKinds; ++kind) {
    cpu::Norm<T>& norm = norms.of[kind];
    norm.raw = const_cast<T*>(own.raw[kind].get());
    norm.moments = const_cast<T*>(own.moments[kind].get());
    norm.ld = padded_row<T>(norm.width, lanes);
  }
}

}  // namespace normrnn
