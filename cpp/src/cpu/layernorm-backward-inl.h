// The time loop of one direction of one layer whose cell has layer norm, backwards, and the
// gradients of its norms.
//
// The cell yields dL/d what it takes, y = gain * x + bias with x the normalised row. With the means
// over the row's width,
//   dL/da = (gain dL/dy - mean(gain dL/dy) - x mean(gain dL/dy x)) / sqrt(variance + 1e-5)
// For W h that is needed for the step before, and is made in the loop; for U x after it, in the
// pass that sums up the gradients of gains and biases.
#pragma once

#include "cpu/backward-inl.h"
#include "cpu/layernorm-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::NormGradients;

// dL/da of one row from dL/dy; out may be dy. The first pass leaves gain dL/dy there: made again,
// it might be rounded otherwise, and where all of a row is the same, 1 / sqrt(1e-5) of that would
// show.
template <class T>
NORMRNN_INLINE void norm_backward(const Norm<T>& norm, int64_t row, const T* dy, T* out) {
  const T* a = norm.raw + row * norm.ld;
  const Moments<T> moments = kept_moments(norm, row);
  const Vec<T> mean = splat(moments.mean), scale = splat(moments.scale);
  Vec<T> sum[4] = {}, product[4] = {};
  along_row<T>(norm.width, [&](int64_t i, int n, int v) __attribute__((always_inline)) {
    const Vec<T> d = load_n(dy + i, n) * load_n(norm.gain + i, n);
    store_n(out + i, d, n);
    sum[v] += d;
    product[v] += d * ((load_n(a + i, n) - mean) * scale);
  });
  const Vec<T> d_mean = splat(T(sum_of<T>(sum) / double(norm.width)));
  const Vec<T> x_mean = splat(T(sum_of<T>(product) / double(norm.width)));
  along_row<T>(norm.width, [&](int64_t i, int n, int) __attribute__((always_inline)) {
    const Vec<T> d = load_n(out + i, n), x = (load_n(a + i, n) - mean) * scale;
    store_n(out + i, (d - d_mean - x * x_mean) * scale, n);
  });
}

// Adds one row's share of dL/d gain and dL/d bias.
template <class T>
NORMRNN_INLINE void add_norm_gradients(const Norm<T>& norm, int64_t row, const T* dy, T* d_gain,
                                       T* d_bias) {
  const T* a = norm.raw + row * norm.ld;
  const Moments<T> moments = kept_moments(norm, row);
  const Vec<T> mean = splat(moments.mean), scale = splat(moments.scale);
  along_row<T>(norm.width, [&](int64_t i, int n, int) __attribute__((always_inline)) {
    const Vec<T> d = load_n(dy + i, n), x = (load_n(a + i, n) - mean) * scale;
    store_n(d_gain + i, load_n(d_gain + i, n) + d * x, n);
    store_n(d_bias + i, load_n(d_bias + i, n) + d, n);
  });
}

// A row's gates as operands, each with its own padding.
template <class T, class E>
NORMRNN_INLINE void put_operands(const LayerBackward<T, E>& op, int gates, const T* from, E* to) {
  if constexpr (cpu::kNumbersIn<E> > 1) {
    to_pairs(from, op.hidden, gates, op.hidden, to, op.gate_operands);
  }
}

// What reaches c' by way of its norm, added to some units' gates' gradients and dL/dc.
template <class Cell, class T, class E>
NORMRNN_INLINE void state_norm_backward(const LayerBackward<T, E>& op, int64_t i, int64_t r,
                                        int64_t prev_row, Range units, T* d_inner) {
  constexpr int kGates = Products<Cell>::kGates;
  const MaskRow<T> candidate(op.masks.candidate, i, r);
  T* d_gates = op.d_gates + i * op.gates_ld;
  norm_backward(op.norms.of[kStateNorm], i, d_gates + kGates * op.hidden, d_inner);
  for (int64_t unit = units.begin; unit < units.end; unit += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, units.end - unit));
    Vec<T> tape[Cell::kTape], prev[Cell::kStates], d_state[Cell::kStates], d_pre[Cell::kGates] = {};
    for (int j = 0; j < Cell::kTape; ++j) {
      tape[j] = load(op.tape + (i * Cell::kTape + j) * op.tape_ld + unit);
    }
    for (int s = 0; s < Cell::kStates; ++s) {
      prev[s] = load(op.state[s] + prev_row * op.state_ld + unit);
      d_state[s] = load(op.d_state + (s * op.batch + r) * op.state_ld + unit);
    }
    Cell::backward_inner(tape, prev, load_n(d_inner + unit, n), d_state, d_pre,
                         CandidateDrop<T>{candidate, unit});
    for (int s = 0; s < Cell::kStates; ++s) {
      store(op.d_state + (s * op.batch + r) * op.state_ld + unit, d_state[s]);
    }
    for (int g = 0; g < kGates; ++g) {
      T* out = d_gates + g * op.hidden + unit;
      store_n(out, load_n(out, n) + d_pre[g], n);
    }
  }
}

// Steps as in layer_backward. Where hidden units are split, all wait for dL/d what the cell takes,
// and then each makes all of dL/d W h, which the next product needs: that is cheaper than to wait
// once more.
template <class Cell, class T, class E>
void layernorm_backward(const LayerBackward<T, E>& op, Worker& worker) {
  using P = Products<Cell>;
  const int64_t panels = (op.hidden + kDenseWidth<T> - 1) / kDenseWidth<T>;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.shares, op.batch, panels);
  const Range units{share.panels.begin * kDenseWidth<T>,
                    min_of(op.hidden, share.panels.end * kDenseWidth<T>)};
  const bool split = splits_units(worker, op.shares);
  T* const d_inner = op.norm_rows + worker.rank() * op.norm_rows_ld;
  const int64_t own = split ? worker.rank() * op.batch : 0;
  T* const own_rec = op.own_rec + own * op.d_rec_ld;
  E* const own_operands = op.own_operands + own * op.rec_operands_ld;
  const Recurrent<E> recurrent{split ? own_operands : op.rec_operands, op.rec_operands_ld, split};

  for (int64_t step = op.times - 1; step >= -1; --step) {
    for (int i = 0; i < kStepParts; ++i) {
      const StepPart part = StepPart(i);
      const Range rows = rows_of(part, clock, step, share.rows);
      if (rows.begin >= rows.end) continue;
      if (!backward_tiles<Cell>(op, recurrent, part, rows, share.panels, clock, step, worker)) {
        return;
      }
    }
    if (split && !worker.barrier()) return;
    const Range rows = overlap(share.rows, {0, clock.rows(step)});
    if constexpr (kNormsState<Cell>) {
      for (int64_t r = rows.begin; r < rows.end; ++r) {
        const bool begins = r >= clock.rows(step - 1);
        const int64_t prev_row = begins ? r : op.batch + clock.begin(step - 1) + r;
        state_norm_backward<Cell>(op, clock.begin(step) + r, r, prev_row, units, d_inner);
      }
      if (split && !worker.barrier()) return;
    }
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t i = clock.begin(step) + r;
      T* d_rec = op.d_rec + i * op.d_rec_ld;
      T* whole = split ? own_rec + r * op.d_rec_ld : d_rec;
      norm_backward(op.norms.of[kRecurrentNorm], i,
                    op.d_gates + i * op.gates_ld + P::kSplit * op.hidden, whole);
      put_operands(
          op, P::kGates, whole,
          split ? own_operands + r * op.rec_operands_ld : op.rec_operands + i * op.rec_operands_ld);
      for (int g = 0; split && g < P::kGates; ++g) {
        const int64_t at = g * op.hidden;
        for (int64_t unit = units.begin; unit < units.end; unit += kLanes<T>) {
          const int n = int(min_of(kLanes<T>, units.end - unit));
          store_n(d_rec + at + unit, load_n(whole + at + unit, n), n);
        }
      }
    }
  }
}

// Tasks are blocks of rows; then each worker adds up the blocks for some of the sums.
template <class Cell, class T, class E>
void norm_gradients(const NormGradients<T, E>& sums, Worker& worker) {
  using P = Products<Cell>;
  const LayerBackward<T, E>& op = *sums.layer;
  const int64_t blocks = (sums.rows + cpu::kNormBlock - 1) / cpu::kNormBlock;
  const int64_t from[] = {0, P::kSplit * op.hidden, P::kGates * op.hidden};  // columns of d_gates
  for (int64_t block = worker.next(); block < blocks; block = worker.next()) {
    T* part = sums.parts + block * sums.sums_size;
    for (int64_t c = 0; c < sums.sums_size; c += kLanes<T>) {
      store_n(part + c, Vec<T>{}, int(min_of(kLanes<T>, sums.sums_size - c)));
    }
    const int64_t end = min_of(sums.rows, (block + 1) * cpu::kNormBlock);
    for (int64_t i = block * cpu::kNormBlock; i < end; ++i) {
      T *row = op.d_gates + i * op.gates_ld, *out = part;
      for (int kind = 0; kind < cpu::kNormKinds; ++kind) {
        const Norm<T>& norm = op.norms.of[kind];
        if (norm.width == 0) continue;
        add_norm_gradients(norm, i, row + from[kind], out, out + norm.width);
        out += 2 * norm.width;
      }
      norm_backward(op.norms.of[kInputNorm], i, row, row);
      put_operands(op, P::kGates, row, op.operands + i * op.operands_ld);
    }
    if (worker.cancelled((end - block * cpu::kNormBlock) * sums.sums_size * 4)) return;
  }
  if (!worker.barrier()) return;
  const int64_t begin = sums.sums_size * worker.rank() / worker.size();
  const int64_t end = sums.sums_size * (worker.rank() + 1) / worker.size();
  for (int64_t c = begin; c < end; c += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, end - c));
    Vec<T> sum = {};
    for (int64_t block = 0; block < blocks; ++block) {
      sum += load_n(sums.parts + block * sums.sums_size + c, n);
    }
    store_n(sums.sums + c, sum, n);
  }
}

}  // namespace normrnn::NORMRNN_TARGET
