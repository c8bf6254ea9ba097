// r = l1 |w| + l2 w^2. docs/equations.md#elastic-net
#pragma once

#include "penalties/penalty.h"

namespace normrnn::NORMRNN_TARGET {

struct ElasticNet {
  static constexpr bool kConstraint = false;

  template <class V>
  NORMRNN_FN static V value(V w, V, const V* scalar) {
    return scalar[0] * abs(w) + scalar[1] * w * w;
  }
  template <class V>
  NORMRNN_FN static V gradient(V w, V, const V* scalar) {
    return scalar[0] * sign(w) + 2 * (scalar[1] * w);  // which the value has too
  }
  template <class V>
  NORMRNN_FN static V prox(V w, V, V step, const V* scalar) {
    return soft_threshold(w, step * scalar[0]) / (1 + 2 * step * scalar[1]);
  }
};

}  // namespace normrnn::NORMRNN_TARGET
