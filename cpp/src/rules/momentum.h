// Heavy ball: v <- mu v + g, w <- w - lr v. Nesterov: w <- w - lr (g + mu v).
// scalars: lr, mu, lr / (1 - mu), whether Nesterov's; slots: v. The third is the step size of a prox:
// what a constant gradient moves the weight by in the end. docs/equations.md#momentum
#pragma once

#include "rules/rule.h"

namespace normrnn::NORMRNN_TARGET {

struct Momentum {
  static constexpr int kSlots = 1;
  static constexpr bool kUniformStep = true;
  static constexpr bool kDecoupled = false;

  template <class V>
  NORMRNN_FN static V step(V g, V* slot, const V* scalar, V& prox_step) {
    prox_step = scalar[2];
    slot[0] = scalar[1] * slot[0] + g;
    const V ahead = g + scalar[1] * slot[0];
    return scalar[0] * (scalar[3] != 0 ? ahead : slot[0]);
  }
};

}  // namespace normrnn::NORMRNN_TARGET
