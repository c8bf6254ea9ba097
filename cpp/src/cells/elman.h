// Elman cell: h = phi(U x + b_ih + W h + b_hh), phi = tanh or ReLU. docs/equations.md#elman
#pragma once

#include "cells/cell.h"

namespace normrnn::NORMRNN_TARGET {

struct Tanh {
  template <class V>
  NORMRNN_FN static V value(V a) {
    return tanh(a);
  }
  template <class V>
  NORMRNN_FN static V derivative(V h) {  // from the output: phi' = 1 - h^2
    return 1 - h * h;
  }
};

struct Relu {
  template <class V>
  NORMRNN_FN static V value(V a) {
    return a < 0 ? V{} : a;  // NaN passes
  }
  template <class V>
  NORMRNN_FN static V derivative(V h) {
    return h <= 0 ? V{} : V{} + 1;  // NaN passes
  }
};

template <class Activation>
struct Elman {
  static constexpr int kGates = 1, kSplit = 0, kStates = 1, kTape = 0;
  static constexpr bool kCandidate = false;

  template <class V, class Drop>
  NORMRNN_FN static void forward(const V* pre, const V*, const V*, V* next, V*, Drop) {
    next[0] = Activation::value(pre[0]);
  }

  template <class V, class Drop>
  NORMRNN_FN static void backward(const V*, const V*, const V* next, V* d_state, V* d_pre, V*,
                                  Drop) {
    d_pre[0] = d_state[0] * Activation::derivative(next[0]);
    d_state[0] = V{};
  }
};

}  // namespace normrnn::NORMRNN_TARGET
