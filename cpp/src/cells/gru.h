// Gated recurrent unit, reset after the product; gates r z n. docs/equations.md#gru
#pragma once

#include "cells/cell.h"

namespace normrnn::NORMRNN_TARGET {

struct Gru {
  static constexpr int kGates = 3, kSplit = 1, kStates = 1, kTape = 4;
  static constexpr bool kCandidate = true;

  template <class V, class Drop>
  NORMRNN_FN static void forward(const V* pre, const V* rec, const V* prev, V* next, V* tape,
                                 Drop drop) {
    const V r = sigmoid(pre[0]);
    const V z = sigmoid(pre[1]);
    const V n = tanh(pre[2] + r * rec[0]);
    const V used = drop(n);
    next[0] = used + z * (prev[0] - used);
    tape[0] = r;
    tape[1] = z;
    tape[2] = n;
    tape[3] = rec[0];
  }

  template <class V, class Drop>
  NORMRNN_FN static void backward(const V* tape, const V* prev, const V*, V* d_state, V* d_pre,
                                  V* d_rec, Drop drop) {
    const V r = tape[0], z = tape[1], n = tape[2], rec = tape[3];
    const V dh = d_state[0];
    const V d_n = drop(dh * (1 - z)) * (1 - n * n);
    d_pre[0] = d_n * rec * r * (1 - r);
    d_pre[1] = dh * (prev[0] - drop(n)) * z * (1 - z);
    d_pre[2] = d_n;
    d_rec[0] = d_n * r;
    d_state[0] = dh * z;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
