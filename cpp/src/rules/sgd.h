// w <- w - lr g. scalars: lr. docs/equations.md#sgd
#pragma once

#include "rules/rule.h"

namespace normrnn::NORMRNN_TARGET {

struct Sgd {
  static constexpr int kSlots = 0;
  static constexpr bool kUniformStep = true;
  static constexpr bool kDecoupled = false;

  template <class V>
  NORMRNN_FN static V step(V g, V*, const V* scalar, V& prox_step) {
    prox_step = scalar[0];
    return scalar[0] * g;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
