// r = strength (w - center)^2. docs/equations.md#l2
#pragma once

#include "penalties/penalty.h"

namespace normrnn::NORMRNN_TARGET {

struct L2 {
  static constexpr bool kConstraint = false;

  template <class V>
  NORMRNN_FN static V value(V w, V center, const V* scalar) {
    return scalar[0] * (w - center) * (w - center);
  }
  template <class V>
  NORMRNN_FN static V gradient(V w, V center, const V* scalar) {
    return 2 * (scalar[0] * (w - center));  // which the value has too
  }
  template <class V>
  NORMRNN_FN static V prox(V w, V center, V step, const V* scalar) {
    const V pull = 2 * step * scalar[0];
    const V left = 1 / (1 + pull);  // 0 where that is infinite
    // What is left of a small pull in 1 - left is multiples of 2^-24.
    return left * w + (pull < 1 ? pull * left : 1 - left) * center;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
