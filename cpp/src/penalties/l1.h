// r = strength |w|; the gradient is the subgradient that is 0 at 0. docs/equations.md#l1
#pragma once

#include "penalties/penalty.h"

namespace normrnn::NORMRNN_TARGET {

struct L1 {
  static constexpr bool kConstraint = false;

  template <class V>
  NORMRNN_FN static V value(V w, V, const V* scalar) {
    return scalar[0] * abs(w);
  }
  template <class V>
  NORMRNN_FN static V gradient(V w, V, const V* scalar) {
    return scalar[0] * sign(w);
  }
  template <class V>
  NORMRNN_FN static V prox(V w, V, V step, const V* scalar) {
    return soft_threshold(w, step * scalar[0]);
  }
};

}  // namespace normrnn::NORMRNN_TARGET
