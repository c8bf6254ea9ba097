// One step forwards of a cell with layer norm: a group of lanes for each row, because a norm needs
// all gates of a row before the cell sees any.
#pragma once

#include "cuda/forward_step.h"

namespace normrnn::device {

constexpr double kNormEpsilon = 1e-5;

// Mean and 1 / sqrt(variance + epsilon) from the totals of two phases, rounded as they are kept.
template <class T>
struct Moments {
  T mean, scale;
};
template <class T>
NORMRNN_FN T mean_of(double sum, int64_t width) {
  return T(sum / double(width));
}
template <class T>
NORMRNN_FN Moments<T> moments_of(double sum, double squares, int64_t width) {
  return {mean_of<T>(sum, width), T(1 / sqrt(squares / double(width) + kNormEpsilon))};
}
template <class T>
NORMRNN_FN double square_from(T value, T mean) {
  const double from_mean = double(value - mean);
  return from_mean * from_mean;
}
template <class T>
NORMRNN_FN T normalised(const Norm<T>& norm, const Moments<T>& moments, int64_t row, int64_t i) {
  const T unit = (norm.raw[row * norm.width + i] - moments.mean) * moments.scale;
  return norm.bias ? unit * norm.gain[i] + norm.bias[i] : unit * norm.gain[i];
}

// The moments of all rows of a matrix that is there.
template <class T>
struct RowMoments {
  static constexpr int kLanes = 256, kPhases = 2, kSums = 1;
  Norm<T> norm;

  NORMRNN_FN Range items(int, int64_t, int64_t) const { return {0, norm.width}; }
  template <class Phase>
  NORMRNN_FN void item(Phase phase, int64_t row, int64_t, int64_t i,
                       const TotalsOf<RowMoments>& totals, double* sum) const {
    const T value = norm.raw[row * norm.width + i];
    if constexpr (phase.value == 0) {
      sum[0] += double(value);
    } else {
      sum[0] += square_from(value, mean_of<T>(totals[0][0], norm.width));
    }
  }
  NORMRNN_FN void finish(int64_t row, int64_t, const TotalsOf<RowMoments>& totals) const {
    const Moments<T> moments = moments_of<T>(totals[0][0], totals[1][0], norm.width);
    norm.moments[2 * row] = moments.mean;
    norm.moments[2 * row + 1] = moments.scale;
  }
};

// Phases: sum and squares of W h; the cell's inner part and the sum and squares of c', where that
// is normalised, too; the cell.
template <class Cell, bool kMasked, class T>
struct NormStep {
  static constexpr bool kInner = kNormsState<Cell>;
  static constexpr int kLanes = 256, kPhases = kInner ? 5 : 3, kSums = 1;
  using P = Products<Cell>;
  using Totals = TotalsOf<NormStep>;
  ForwardOp<T> op;
  StepRows at;

  NORMRNN_FN Range items(int phase, int64_t, int64_t) const {
    return {0, phase < 2 ? P::kGates * op.hidden : op.hidden};
  }

  NORMRNN_FN int64_t own_row(int64_t r) const { return op.keep_norms ? at.packed + r : r; }

  // What the cell takes of U x and W h.
  NORMRNN_FN void gates(int64_t r, int64_t unit, const Totals& totals, T* pre, T* rec) const {
    constexpr int kShared = P::kGates - P::kSplit;
    const Norm<T>&in = op.norms[kInputNorm], &own = op.norms[kRecurrentNorm];
    const int64_t i = at.packed + r;
    const Moments<T> input{in.moments[2 * i], in.moments[2 * i + 1]};
    const Moments<T> recurrent = moments_of<T>(totals[0][0], totals[1][0], own.width);
    for (int g = 0; g < P::kGates; ++g) {
      const int64_t column = g * op.hidden + unit;
      const T sent = normalised(own, recurrent, own_row(r), column);
      pre[g] = normalised(in, input, i, column);
      if (g < kShared) {
        pre[g] += sent;
      } else {
        rec[g - kShared] = sent;
      }
    }
  }

  NORMRNN_FN T inner(int64_t r, int64_t unit, T* pre, const T* prev) const {
    if constexpr (!kInner) {
      return T(0);
    } else if constexpr (kMasked) {
      const MaskRow<T> candidate(op.masks.candidate, at.packed + r, r);
      return Cell::inner(pre, prev, CandidateDrop<T>{candidate, unit});
    } else {
      return Cell::inner(pre, prev, NoDrop{});
    }
  }

  template <class Phase>
  NORMRNN_FN void item(Phase phase, int64_t r, int64_t, int64_t i, const Totals& totals,
                       double* sum) const {
    const Norm<T>&own = op.norms[kRecurrentNorm], &state = op.norms[kStateNorm];
    const int64_t row = own_row(r);
    if constexpr (phase.value == 0) {
      sum[0] += double(own.raw[row * own.width + i]);
    } else if constexpr (phase.value == 1) {
      sum[0] += square_from(own.raw[row * own.width + i], mean_of<T>(totals[0][0], own.width));
    } else if constexpr (kInner && phase.value == 3) {
      sum[0] +=
          square_from(state.raw[row * state.width + i], mean_of<T>(totals[2][0], state.width));
    } else {
      T pre[Cell::kGates], rec[Cell::kSplit + 1] = {}, prev[Cell::kStates];
      load_previous<Cell>(op, at, r, i, prev);
      gates(r, i, totals, pre, rec);
      if constexpr (kInner) {
        const T c = inner(r, i, pre, prev);
        if constexpr (phase.value == 2) {
          state.raw[row * state.width + i] = c;
          sum[0] += double(c);
          return;
        } else {
          const Moments<T> moments = moments_of<T>(totals[2][0], totals[3][0], state.width);
          pre[P::kGates] = normalised(state, moments, row, i);
        }
      }
      step_unit<Cell, kMasked>(op, at, r, i, pre, rec, prev);
    }
  }

  NORMRNN_FN void finish(int64_t r, int64_t, const Totals& totals) const {
    keep(op.norms[kRecurrentNorm], r, totals[0][0], totals[1][0]);
    if constexpr (kInner) keep(op.norms[kStateNorm], r, totals[2][0], totals[3][0]);
  }
  NORMRNN_FN void keep(const Norm<T>& norm, int64_t r, double sum, double squares) const {
    const Moments<T> moments = moments_of<T>(sum, squares, norm.width);
    norm.moments[2 * own_row(r)] = moments.mean;
    norm.moments[2 * own_row(r) + 1] = moments.scale;
  }
};

}  // namespace normrnn::device
