// The pointwise part of one step forwards, for any cell: a number for each row and hidden unit.
#pragma once

#include "cuda/tape.h"

#include "cells/cells.def"

namespace normrnn::device {

// One direction of one layer. Plain data: kernels get it by value.
template <class T>
struct ForwardOp {
  int64_t hidden, batch;
  int64_t reverse;
  Operand operand;        // of the products
  const void* recurrent;  // weight_hh as such, or null where it is a vector
  const T* diagonal;      // the vector [H], or null
  T* input_product;       // [N, G*H] U x
  T* product;             // [B, G*H] W h of one step
  const T* bias;          // [(G+split)*H]: b_ih + b_hh, of split gates b_ih, and then b_hh
  StateRows rows[kStates];
  T* state[kStates];
  T* masked_h;  // states[0] as masks.state leaves it, in the same rows, or null
  void* h;      // what the product reads: one of these, or their 16 bits
  T* tape;      // [N, tape_ld] or null
  int64_t tape_ld;
  T* y;  // rows of H, y_ld apart, or null
  int64_t y_ld;
  const int64_t* y_slot;
  uint16_t* y_operands;  // [N, H] the same of 16 bits, or null
  Masks<T> masks;
  Norm<T> norms[kNormKinds];
  // Whether rows of the recurrent and the state norm are packed rows (for the tape), or one step's.
  int64_t keep_norms;
};

// A step's place in the buffers.
struct StepRows {
  int64_t packed;   // first packed row
  int64_t now;      // rows
  int64_t running;  // of these, those that had a step before; the others start
  int64_t previous[kStates], next[kStates];  // first rows of the states
};

template <class T>
StepRows step_rows(const ForwardOp<T>& op, const Steps& steps, int64_t step) {
  StepRows at{};
  at.packed = steps.begin(step);
  at.now = steps.rows(step);
  at.running = at.now < steps.rows(step - 1) ? at.now : steps.rows(step - 1);
  for (int s = 0; s < kStates; ++s) {
    at.previous[s] = op.rows[s].block(steps, step - 1);
    at.next[s] = op.rows[s].block(steps, step);
  }
  return at;
}

// Zoneout: units that stay as they were, or, in evaluation, the mean over them.
template <class T>
NORMRNN_FN T zoned(const MaskRow<T>& row, T blend, int64_t unit, T prev, T next) {
  if (row.exists()) return row.kept(unit) ? next : prev;
  return blend != 0 ? next + blend * (prev - next) : next;
}

template <class Cell, class T>
NORMRNN_FN inline void load_previous(const ForwardOp<T>& op, const StepRows& at, int64_t r,
                                     int64_t unit, T* prev) {
  for (int s = 0; s < Cell::kStates; ++s) {
    const int64_t row = r < at.running ? at.previous[s] + r : op.rows[s].initial + r;
    prev[s] = op.state[s][row * op.hidden + unit];
  }
}

// The cell on one unit, from what it takes, and everywhere that the result goes.
template <class Cell, bool kMasked, class T>
NORMRNN_FN inline void step_unit(const ForwardOp<T>& op, const StepRows& at, int64_t r,
                                 int64_t unit, const T* pre, const T* rec, const T* prev) {
  T next[Cell::kStates], tape[Cell::kTape + 1];
  T operand, output;  // h as the next product reads it, and as y
  const int64_t i = at.packed + r, own = (at.next[0] + r) * op.hidden + unit;
  if constexpr (kMasked) {
    const MaskRow<T> candidate(op.masks.candidate, i, r);
    Cell::forward(pre, rec, prev, next, tape, CandidateDrop<T>{candidate, unit});
    for (int s = 0; s < Cell::kStates; ++s) {
      next[s] =
          zoned(MaskRow<T>(op.masks.zoneout[s], i, r), op.masks.blend[s], unit, prev[s], next[s]);
    }
    operand = MaskRow<T>(op.masks.state, i, r)(next[0], unit);
    output = MaskRow<T>(op.masks.output, i, r)(next[0], unit);
    if (op.masked_h) op.masked_h[own] = operand;
  } else {
    Cell::forward(pre, rec, prev, next, tape, NoDrop{});
    operand = output = next[0];
  }
  for (int s = 0; s < Cell::kStates; ++s) {
    op.state[s][(at.next[s] + r) * op.hidden + unit] = next[s];
  }
  if constexpr (sizeof(T) == 4) {
    if (is_short(op.operand)) {
      store_operand(op.h, op.operand, own, operand);
      if (op.y_operands) store_operand(op.y_operands, op.operand, i * op.hidden + unit, output);
    }
  }
  if (op.tape) {
    for (int j = 0; j < Cell::kTape; ++j) op.tape[i * op.tape_ld + j * op.hidden + unit] = tape[j];
  }
  if (op.y) op.y[(op.y_slot ? op.y_slot[i] : i) * op.y_ld + unit] = output;
}

// A step of a cell without layer norm.
template <class Cell, bool kMasked, class T>
struct ForwardStep {
  ForwardOp<T> op;
  StepRows at;

  NORMRNN_FN void operator()(int64_t r, int64_t unit) const {
    constexpr int kGates = Cell::kGates, kShared = kGates - Cell::kSplit;
    const int64_t width = kGates * op.hidden;
    const T* input = op.input_product + (at.packed + r) * width + unit;
    const T* product = op.product + r * width + unit;
    T pre[kGates], rec[Cell::kSplit + 1] = {}, prev[Cell::kStates];
    load_previous<Cell>(op, at, r, unit, prev);
    for (int g = 0; g < kGates; ++g) {
      T sent;
      if constexpr (kIsDiagonal<Cell>) {
        T h = prev[0];
        if (kMasked && op.masked_h) {
          const int64_t row = r < at.running ? at.previous[0] + r : op.rows[0].initial + r;
          h = op.masked_h[row * op.hidden + unit];
        }
        sent = op.diagonal[unit] * h;
      } else {
        sent = product[g * op.hidden];
      }
      pre[g] = op.bias[g * op.hidden + unit] + input[g * op.hidden];
      if (g < kShared) {
        pre[g] += sent;
      } else {
        rec[g - kShared] = op.bias[(g + Cell::kSplit) * op.hidden + unit] + sent;
      }
    }
    step_unit<Cell, kMasked>(op, at, r, unit, pre, rec, prev);
  }
};

}  // namespace normrnn::device
