// Layer norm backwards. The cell yields dL/d what it takes, y = gain * x + bias with x the
// normalised row. With d = gain dL/dy and means over the row's width,
//   dL/da = (d - mean(d) - x mean(d x)) / sqrt(variance + 1e-5)
#pragma once

#include "cuda/backward_step.h"

namespace normrnn::device {

// A product that is rounded as it is, never part of a fused multiply-add: d must be the same number
// wherever it is made, for where all of a row is the same, 1 / sqrt(1e-5) of a difference would
// show.
NORMRNN_FN inline float rounded_product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  volatile float product = a * b;
  return product;
#endif
}
NORMRNN_FN inline double rounded_product(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  volatile double product = a * b;
  return product;
#endif
}

template <class T>
NORMRNN_FN inline void add_norm_sums(const Norm<T>& norm, int64_t row, int64_t i, T dy,
                                     double* sum) {
  const T d = rounded_product(dy, norm.gain[i]);
  sum[0] += double(d);
  sum[1] += double(d) * double(norm.unit(row, i));
}
template <class T>
NORMRNN_FN inline T through_norm(const Norm<T>& norm, int64_t row, int64_t i, T dy,
                                 const double* total) {
  const T d = rounded_product(dy, norm.gain[i]);
  const T mean = T(total[0] / double(norm.width)), along = T(total[1] / double(norm.width));
  return (d - mean - norm.unit(row, i) * along) * norm.moments[2 * row + 1];
}

// A step of a cell with layer norm: a group for each row. Phases: the cell; sums for the cell
// state's norm and what it sends to c', where that is normalised; sums for W h's norm, and dL/d W
// h.
template <class Cell, bool kExtras, class T>
struct NormBackwardStep {
  static constexpr bool kInner = kNormsState<Cell>;
  static constexpr int kLanes = 256, kPhases = kInner ? 5 : 3, kSums = 3;
  using P = Products<Cell>;
  using Totals = TotalsOf<NormBackwardStep>;
  BackwardOp<T> op;
  BackRows at;

  NORMRNN_FN Range items(int phase, int64_t r, int64_t) const {
    if (phase == 0) return {0, op.hidden};
    if (r >= at.now) return {0, 0};
    return {0, phase < kPhases - 2 ? op.hidden : P::kGates * op.hidden};
  }

  template <class Phase>
  NORMRNN_FN void item(Phase phase, int64_t r, int64_t, int64_t i, const Totals& totals,
                       double* sum) const {
    const int64_t row = at.packed + r;
    const Norm<T>& own = op.norms[kRecurrentNorm];
    T* d_gates = op.d_gates + row * op.gates_ld;
    if constexpr (phase.value == 0) {
      unit_backward<Cell, kExtras>(op, at, r, i, sum);
    } else if constexpr (phase.value == kPhases - 2) {
      add_norm_sums(own, row, i, d_gates[P::kSplit * op.hidden + i], sum);
    } else if constexpr (phase.value == kPhases - 1) {
      const T d =
          through_norm(own, row, i, d_gates[P::kSplit * op.hidden + i], totals[kPhases - 2]);
      op.d_rec[row * own.width + i] = d;
      if (op.rec_operands) store_operand(op.rec_operands, op.operand, row * own.width + i, d);
    } else if constexpr (phase.value == 1) {
      add_norm_sums(op.norms[kStateNorm], row, i, d_gates[P::kGates * op.hidden + i], sum);
    } else {
      inner_backward(r, i, totals[1]);
    }
  }

  // What reaches c' by way of its norm, added to the gates' gradients and to dL/dc.
  NORMRNN_FN void inner_backward(int64_t r, int64_t unit, const double* total) const {
    if constexpr (kInner) {
      const int64_t row = at.packed + r;
      T* d_gates = op.d_gates + row * op.gates_ld + unit;
      const T dc =
          through_norm(op.norms[kStateNorm], row, unit, d_gates[P::kGates * op.hidden], total);
      T tape[Cell::kTape], prev[Cell::kStates], d_state[Cell::kStates], d_pre[Cell::kGates] = {};
      for (int j = 0; j < Cell::kTape; ++j) {
        tape[j] = op.tape[row * op.tape_ld + j * op.hidden + unit];
      }
      for (int s = 0; s < Cell::kStates; ++s) {
        prev[s] = op.state[s][previous_row(op, at, s, r) * op.hidden + unit];
        d_state[s] = op.d_state[s][r * op.hidden + unit];
      }
      if constexpr (kExtras) {
        const MaskRow<T> candidate(op.masks.candidate, row, r);
        Cell::backward_inner(tape, prev, dc, d_state, d_pre, CandidateDrop<T>{candidate, unit});
      } else {
        Cell::backward_inner(tape, prev, dc, d_state, d_pre, NoDrop{});
      }
      for (int s = 0; s < Cell::kStates; ++s) op.d_state[s][r * op.hidden + unit] = d_state[s];
      for (int g = 0; g < P::kGates; ++g) d_gates[g * op.hidden] += d_pre[g];
    }
  }

  NORMRNN_FN void finish(int64_t r, int64_t, const Totals& totals) const {
    keep_parts(op, at, r, 0, totals[0]);
  }
};

// After the loop: dL/d U x in place of the input's part of d_gates.
template <class Cell, class T>
struct InputNormBackward {
  static constexpr int kLanes = 256, kPhases = 2, kSums = 2;
  using Totals = TotalsOf<InputNormBackward>;
  BackwardOp<T> op;

  NORMRNN_FN Range items(int, int64_t, int64_t) const { return {0, op.norms[kInputNorm].width}; }
  template <class Phase>
  NORMRNN_FN void item(Phase phase, int64_t row, int64_t, int64_t i, const Totals& totals,
                       double* sum) const {
    const Norm<T>& norm = op.norms[kInputNorm];
    const int64_t column =
        place_of_input<Products<Cell>>(int(i / op.hidden)) * op.hidden + i % op.hidden;
    const T dy = op.d_gates[row * op.gates_ld + column];
    if constexpr (phase.value == 0) {
      add_norm_sums(norm, row, i, dy, sum);
    } else {
      put_gate(op, row, column, through_norm(norm, row, i, dy, totals[0]));
    }
  }
  NORMRNN_FN void finish(int64_t, int64_t, const Totals&) const {}
};

}  // namespace normrnn::device
