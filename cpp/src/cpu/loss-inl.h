// Losses: the value is summed in double, the derivative is scaled for the reduction.
#pragma once

#include "losses/losses.h"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

// dy = scale * derivative over `count` elements; returns the sum of the values.
template <class Loss, class T>
double loss_elements(const T* y, const T* target, T scale, int64_t count, T* dy) {
  Doubles sum[2] = {};
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, count - i));
    Vec<T> value, derivative;
    Loss::evaluate(load_n(y + i, n), load_n(target + i, n), value, derivative);
    store_n(dy + i, scale * derivative, n);
    value = first_lanes<T>(value, n);
    if constexpr (Loss::kSquared) {
      add_squares(sum, value);
    } else {
      add_to(sum, value);
    }
  }
  return sum_lanes<double>(sum[0] + sum[1]);
}

enum LossKind : int { kSquaredError, kSigmoidCrossEntropy };

template <class T>
double loss(int kind, const T* y, const T* target, T scale, int64_t count, T* dy) {
  return kind == kSquaredError ? loss_elements<SquaredError, T>(y, target, scale, count, dy)
                               : loss_elements<SigmoidCrossEntropy, T>(y, target, scale, count, dy);
}

// One row: returns log(sum exp z) - z[target]; d_logits = scale (softmax(z) - onehot(target)).
template <class T>
double softmax(const T* logits, int64_t target, T scale, int64_t classes, T* d_logits) {
  T largest = logits[0];
  for (int64_t i = 1; i < classes; ++i) largest = logits[i] > largest ? logits[i] : largest;
  const double z_target = double(logits[target]) - double(largest);
  Doubles sums[2] = {};
  for (int64_t i = 0; i < classes; i += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, classes - i));
    const Vec<T> e = exp(load_n(logits + i, n) - largest);
    store_n(d_logits + i, e, n);
    add_to(sums, first_lanes<T>(e, n));
  }
  const double sum = sum_lanes<double>(sums[0] + sums[1]);
  const Vec<T> factor = splat(T(double(scale) / sum));
  for (int64_t i = 0; i < classes; i += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, classes - i));
    store_n(d_logits + i, factor * load_n(d_logits + i, n), n);
  }
  d_logits[target] -= scale;
  return __builtin_log(sum) - z_target;
}

}  // namespace normrnn::NORMRNN_TARGET
