// Losses of single elements: value and derivative in the prediction. docs/equations.md#losses
// The softmax cross-entropy, which couples the elements of a row, is in cpu/loss-inl.h.
#pragma once

#include "elementary.h"

namespace normrnn::NORMRNN_TARGET {

// With kSquared the value is the square of what evaluate() gives: in double, for it may be beyond T.
struct SquaredError {  // (y - t)^2
  static constexpr bool kSquared = true;
  template <class V>
  static void evaluate(V y, V target, V& value, V& derivative) {
    value = y - target;
    derivative = 2 * value;
  }
};

struct SigmoidCrossEntropy {  // log(1 + exp(y)) - t y, from logits, without overflow
  static constexpr bool kSquared = false;
  template <class V>
  static void evaluate(V y, V target, V& value, V& derivative) {
    const V share = y > 0 ? 1 - target : target;
    // Not inf times 0: a logit may be infinite where the event is certain.
    value = (share == 0 ? V{} : abs(y)) * share + log1p(exp(-abs(y)));
    derivative = sigmoid(y) - target;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
