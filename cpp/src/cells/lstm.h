// Long short-term memory; gates i f g o, states h c. docs/equations.md#lstm
#pragma once

#include "cells/cell.h"

namespace normrnn::NORMRNN_TARGET {

struct Lstm {
  static constexpr int kGates = 4, kSplit = 0, kStates = 2, kTape = 4;
  static constexpr bool kCandidate = true;

  template <class V, class Drop>
  NORMRNN_FN static void forward(const V* pre, const V*, const V* prev, V* next, V* tape,
                                 Drop drop) {
    const V i = sigmoid(pre[0]);
    const V f = sigmoid(pre[1]);
    const V g = tanh(pre[2]);
    const V o = sigmoid(pre[3]);
    const V c = f * prev[1] + i * drop(g);
    next[0] = o * tanh(c);
    next[1] = c;
    tape[0] = i;
    tape[1] = f;
    tape[2] = g;
    tape[3] = o;
  }

  template <class V, class Drop>
  NORMRNN_FN static void backward(const V* tape, const V* prev, const V* next, V* d_state, V* d_pre,
                                  V*, Drop drop) {
    const V i = tape[0], f = tape[1], g = tape[2], o = tape[3];
    const V used = drop(g);
    // The c that h saw, which zoneout may have replaced in next.
    const V c = Drop::kMasked ? f * prev[1] + i * used : next[1];
    const V tanh_c = tanh(c);  // cheaper to compute again than to keep
    const V dh = d_state[0];
    const V dc = d_state[1] + dh * o * (1 - tanh_c * tanh_c);
    d_pre[0] = dc * used * i * (1 - i);
    d_pre[1] = dc * prev[1] * f * (1 - f);
    d_pre[2] = drop(dc * i) * (1 - g * g);
    d_pre[3] = dh * tanh_c * o * (1 - o);
    d_state[0] = V{};
    d_state[1] = dc * f;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
