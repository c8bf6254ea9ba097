// Adam, and AdamW: the same step with the penalty decoupled from it.
// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w - lr m^ / (sqrt(v^) + eps).
// scalars: lr / (1 - b1^t), b1, 1 - b1, b2, 1 - b2, eps, 1 / sqrt(1 - b2^t), lr; slots: m, v.
// (1 - b2 comes from double: 1 - 0.999f in float is off by 1e-5.)
// docs/equations.md#adam
#pragma once

#include "rules/rule.h"

namespace normrnn::NORMRNN_TARGET {

template <bool kDecoupledPenalty>
struct Adam {
  static constexpr int kSlots = 2;
  static constexpr bool kUniformStep = kDecoupledPenalty;
  static constexpr bool kDecoupled = kDecoupledPenalty;

  template <class V>
  NORMRNN_FN static V step(V g, V* slot, const V* scalar, V& prox_step) {
    slot[0] = scalar[1] * slot[0] + scalar[2] * g;
    slot[1] = scalar[3] * slot[1] + scalar[4] * g * g;
    const V inverse = 1 / (sqrt(slot[1]) * scalar[6] + scalar[5]);
    // Finite, and so is twice of it in float32: infinity times a strength of 0 would be NaN.
    prox_step = kDecoupled ? scalar[7] : min(V{} + 0x1p126f, scalar[7] * inverse);
    return scalar[0] * slot[0] * inverse;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
