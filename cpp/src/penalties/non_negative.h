// The constraint w >= 0: its prox is the projection. docs/equations.md#non-negativity
#pragma once

#include "penalties/penalty.h"

namespace normrnn::NORMRNN_TARGET {

struct NonNegative {
  static constexpr bool kConstraint = true;

  template <class V>
  NORMRNN_FN static V value(V, V, const V*) {
    return V{};
  }
  template <class V>
  NORMRNN_FN static V gradient(V, V, const V*) {
    return V{};
  }
  template <class V>
  NORMRNN_FN static V prox(V w, V, V, const V*) {
    return max(V{}, w);  // NaN passes
  }
};

}  // namespace normrnn::NORMRNN_TARGET
