// The kernels of one target that take operands, by cell; kernels-inl.h says what the macros mean.
#pragma once

#include "cells/cells.def"
#include "cpu/backward-inl.h"
#include "cpu/forward-inl.h"
#include "cpu/indrnn-inl.h"
#include "cpu/layernorm-backward-inl.h"
#include "cpu/layernorm-inl.h"

#define NORMRNN_STRING_OF(x) #x
#define NORMRNN_STRING(x) NORMRNN_STRING_OF(x)

namespace normrnn::NORMRNN_TARGET {

template <class Cell, class T, class E>
constexpr cpu::LayerKernels<T, E> layer_kernels() {
  static_assert(Cell::kGates <= kMaxGates && Cell::kStates <= kMaxStates);
  static_assert(sets_at_once(Layout<Cell>::kAll, Layout<Cell>::kUnits) <= NORMRNN_ACCUMULATORS);
  if constexpr (sizeof(T) == 8 && cpu::kNumbersIn<E> > 1) {
    return {};
  } else {
    cpu::LayerKernels<T, E> kernels{};
    kernels.pack_input = pack_gates<Products<Cell>, T, E, false>;
    kernels.pack_recurrent = pack_gates<Products<Cell>, T, E, true>;
    if constexpr (kHasLayerNorm<Cell>) {
      kernels.forward = layernorm_forward<Cell, T, E>;
      kernels.backward = layernorm_backward<Cell, T, E>;
      kernels.norm_gradients = norm_gradients<Cell, T, E>;
    } else if constexpr (kIsDiagonal<Cell>) {
      kernels.forward = diagonal_forward<Cell, T, E>;
      kernels.backward = diagonal_backward<Cell, T, E>;
    } else {
      kernels.forward = layer_forward<Cell, T, E>;
      kernels.backward = layer_backward<Cell, T, E>;
    }
    return kernels;
  }
}

}  // namespace normrnn::NORMRNN_TARGET
