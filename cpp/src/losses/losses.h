// Losses of single elements: value and derivative in the prediction. docs/equations.md#losses
// The softmax cross-entropy, which couples the elements of a row, is in cpu/loss-inl.h.
#pragma once

#include "elementary.h"

namespace normrnn::NORMRNN_TARGET {

struct SquaredError {  // (y - t)^2
  template <class V>
  static void evaluate(V y, V target, V& value, V& derivative) {
    const V d = y - target;
    value = d * d;
    derivative = 2 * d;
  }
};

struct SigmoidCrossEntropy {  // log(1 + exp(y)) - t y, from logits, without overflow
  template <class V>
  static void evaluate(V y, V target, V& value, V& derivative) {
    const V share = y > 0 ? 1 - target : target;
    // Not inf times 0: a logit may be infinite where the event is certain.
    value = (share == 0 ? V{} : abs(y)) * share + log1p(exp(-abs(y)));
    derivative = sigmoid(y) - target;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
