// Cells on normalised products (Ba, Kiros & Hinton, arXiv:1607.06450). docs/equations.md#layer-norm
//
// The time loop (cpu/layernorm-inl.h) normalises U x and W h and applies gains and biases; what the
// cell sees as pre and rec is the result, and its own maths is the plain cell's.
#pragma once

#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"

namespace normrnn::NORMRNN_TARGET {

template <class Cell>
struct LayerNorm : Cell {
  using Plain = Cell;
};

// The LSTM also normalises c' on its way to h': h' = o tanh(z), z = LN(c') gain_c + bias_c. That
// needs all units of a row, so a step has two halves. The time loop calls inner, normalises what it
// returns, and hands z to forward as pre[4]; pre[0] to pre[3] are then the gates themselves.
// Backwards d_pre[4] is dL/dz, and what the normalisation makes of it comes back to backward_inner.
struct LayerNormLstm {
  using Plain = Lstm;
  static constexpr int kGates = 5, kSplit = 0, kStates = 2, kTape = 5;
  static constexpr bool kCandidate = true;

  // c'; the gates take the place of what they are made from.
  template <class V, class Drop>
  NORMRNN_FN static V inner(V* pre, const V* prev, Drop drop) {
    pre[0] = sigmoid(pre[0]);
    pre[1] = sigmoid(pre[1]);
    pre[2] = tanh(pre[2]);
    pre[3] = sigmoid(pre[3]);
    return pre[1] * prev[1] + pre[0] * drop(pre[2]);
  }

  template <class V, class Drop>
  NORMRNN_FN static void forward(const V* pre, const V*, const V* prev, V* next, V* tape,
                                 Drop drop) {
    const V tanh_z = tanh(pre[4]);
    next[0] = pre[3] * tanh_z;
    next[1] = pre[1] * prev[1] + pre[0] * drop(pre[2]);
    for (int j = 0; j < 4; ++j) tape[j] = pre[j];
    tape[4] = tanh_z;
  }

  template <class V, class Drop>
  NORMRNN_FN static void backward(const V* tape, const V* prev, const V*, V* d_state, V* d_pre, V*,
                                  Drop drop) {
    const V o = tape[3], tanh_z = tape[4], dh = d_state[0], dc = d_state[1];
    d_state[0] = d_state[1] = V{};
    backward_inner(tape, prev, dc, d_state, d_pre, drop);
    d_pre[3] = dh * tanh_z * o * (1 - o);
    d_pre[4] = dh * o * (1 - tanh_z * tanh_z);
  }

  // From dL/dc' to d_pre[0] to d_pre[2], and added to d_state: both are linear in it, so that what
  // comes by way of z can be added later.
  template <class V, class Drop>
  NORMRNN_FN static void backward_inner(const V* tape, const V* prev, V dc, V* d_state, V* d_pre,
                                        Drop drop) {
    const V i = tape[0], f = tape[1], g = tape[2];
    d_pre[0] = dc * drop(g) * i * (1 - i);
    d_pre[1] = dc * prev[1] * f * (1 - f);
    d_pre[2] = drop(dc * i) * (1 - g * g);
    d_state[1] += dc * f;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
