// The time loop of one direction of one layer, backwards, for any cell.
#pragma once

#include "cpu/state-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::Pace;

// dL/dh_t = product + direct part + dy_t, then the cell backwards. The tile holds the product.
// kExtras: with masks, state penalties or a clip.
template <class Cell, bool kExtras, class T, class E>
void backward_epilogue(const LayerBackward<T, E>& op, const T* tile, int64_t rows, int64_t panel,
                       int64_t panels, int64_t first, const Clock& clock, int64_t step) {
  constexpr int kL = kLanes<T>;
  for (int64_t m = 0; m < rows; ++m) {
    const int64_t r = first + m;
    const int64_t i = clock.begin(step) + r;
    // A sequence that begins at this step has its previous state in the initial block.
    const bool begins = r >= clock.rows(step - 1);
    const int64_t prev_row = begins ? r : op.batch + clock.begin(step - 1) + r;
    Doubles norm[2] = {};
    RowTerms<kExtras, T> terms(op, clock, step, r);
    for (int v = 0; v < kDenseSets; ++v) {
      const int64_t unit = panel * kDenseWidth<T> + v * kL;
      const int n = int(min_of(kL, op.hidden - unit));
      if (n <= 0) break;
      Vec<T> prev[Cell::kStates], next[Cell::kStates], d_state[Cell::kStates];
      Vec<T> tape[Cell::kTape + 1], d_pre[Cell::kGates], d_rec[Cell::kSplit + 1];
      for (int s = 0; s < Cell::kStates; ++s) {
        prev[s] = load(op.state[s] + prev_row * op.state_ld + unit);
        next[s] = load(op.state[s] + (op.batch + i) * op.state_ld + unit);
        d_state[s] = load(op.d_state + (s * op.batch + r) * op.state_ld + unit);
      }
      for (int j = 0; j < Cell::kTape; ++j) {
        tape[j] = load(op.tape + (i * Cell::kTape + j) * op.tape_ld + unit);
      }
      const auto row_of = [&](const Mask<T>& mask)
                              __attribute__((always_inline)) { return MaskRow<T>(mask, i, r); };
      Vec<T> product = load(tile + m * kDenseWidth<T> + v * kL);
      if constexpr (kExtras) product = row_of(op.masks.state)(product, unit);
      d_state[0] += product;
      if (op.dy.data) {
        const T* dy = op.dy.data + (op.dy.slot ? op.dy.slot[i] : i) * op.dy.ld + unit;
        Vec<T> d_output = load_n(dy, n);
        if constexpr (kExtras) d_output = row_of(op.masks.output)(d_output, unit);
        d_state[0] += d_output;
      }
      terms.add(d_state[0], next[0], unit);
      d_state[0] = first_lanes<T>(d_state[0], n);  // the others must not reach the norm
      add_squares(norm, d_state[0]);
      terms.clip(d_state[0]);
      if constexpr (kExtras) {
        Vec<T> passed[Cell::kStates];  // by zoneout to the state before
        for (int s = 0; s < Cell::kStates; ++s) {
          passed[s] = Vec<T>{};
          const MaskRow<T> row = row_of(op.masks.zoneout[s]);
          if (!row.exists()) continue;
          const auto kept = row.kept(unit);
          passed[s] = kept ? Vec<T>{} : d_state[s];
          d_state[s] = kept ? d_state[s] : Vec<T>{};
          next[s] = kept ? next[s] : Vec<T>{};  // the state before, whose square may be infinite
        }
        const MaskRow<T> candidate = row_of(op.masks.candidate);
        Cell::backward(tape, prev, next, d_state, d_pre, d_rec, CandidateDrop<T>{candidate, unit});
        for (int s = 0; s < Cell::kStates; ++s) d_state[s] += passed[s];
      } else {
        Cell::backward(tape, prev, next, d_state, d_pre, d_rec, NoDrop{});
      }
      for (int s = 0; s < Cell::kStates; ++s) {
        store(op.d_state + (s * op.batch + r) * op.state_ld + unit, d_state[s]);
      }
      T* out = op.d_gates + i * op.gates_ld + unit;
      const auto put = [&](int place, Vec<T> d) __attribute__((always_inline)) {
        store_n(out + place * op.hidden, d, n);
        if constexpr (cpu::kNumbersIn<E> > 1) {
          store_as(op.operands + i * op.operands_ld + place * op.gate_operands +
                       unit / cpu::kNumbersIn<E>,
                   first_lanes<T>(d, n));  // the operands' own padding is read
        }
      };
      for (int g = 0; g < Cell::kGates; ++g) put(place_of_input<Cell>(g), d_pre[g]);
      for (int g = 0; g < Cell::kSplit; ++g) put(Cell::kGates + g, d_rec[g]);
    }
    op.norm_parts[i * panels + panel] = sum_lanes<double>(norm[0] + norm[1]);
    terms.finish(panel, panels);
  }
}

// Asks for what backward_epilogue will read and write at the step to come: steps are taken
// backwards and rows lie far apart, which hardware prefetchers do not follow. A whole step ahead,
// for memory is slow. Inline, or GCC takes the function for one without effect and drops it.
template <class Cell, class T, class E>
NORMRNN_INLINE void prefetch_step(const LayerBackward<T, E>& op, const Clock& clock, int64_t step,
                                  int64_t begin, int64_t end, int64_t panel) {
  const int64_t unit = panel * kDenseWidth<T>;
  const auto fetch = [](const T* at) __attribute__((always_inline)) {
    for (int byte = 0; byte < kDenseSets * NORMRNN_VECTOR_BYTES; byte += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(at) + byte, 0, 2);
    }
  };
  for (int64_t r = begin; r < min_of(end, clock.rows(step)); ++r) {
    const int64_t i = clock.begin(step) + r;
    const int64_t prev = r < clock.rows(step - 1) ? op.batch + clock.begin(step - 1) + r : r;
    for (int s = 0; s < Cell::kStates; ++s) fetch(op.state[s] + prev * op.state_ld + unit);
    for (int j = 0; j < Cell::kTape; ++j) {
      fetch(op.tape + (i * Cell::kTape + j) * op.tape_ld + unit);
    }
    for (int g = 0; g < Cell::kGates + Cell::kSplit; ++g) {
      fetch(op.d_gates + i * op.gates_ld + g * op.hidden + unit);
    }
    if (op.dy.data) fetch(op.dy.data + (op.dy.slot ? op.dy.slot[i] : i) * op.dy.ld + unit);
  }
}

// A sequence has begun: its last product is part of dL/d initial state.
template <class T, class E>
void add_to_d_state(const LayerBackward<T, E>& op, const T* tile, int64_t rows, int64_t panel,
                    int64_t first) {
  for (int64_t m = 0; m < rows; ++m) {
    const MaskRow<T> mask(op.masks.state, first + m, first + m);
    for (int v = 0; v < kDenseSets; ++v) {
      const int64_t unit = panel * kDenseWidth<T> + v * kLanes<T>;
      if (unit >= op.hidden) break;
      T* d_state = op.d_state + (first + m) * op.state_ld + unit;
      const Vec<T> product = load(tile + m * kDenseWidth<T> + v * kLanes<T>);
      store(d_state, load(d_state) + mask(product, unit));
    }
  }
}

// dy of the steps [first, last] from the gates of the layer above, once it is done with them.
template <class T, class E>
bool follow_above(const LayerBackward<T, E>& op, const Clock& clock, int64_t first, int64_t last,
                  Worker& worker) {
  if (!worker.await(op.times - first)) return false;
  const MatMul<T, E>& product = *op.above;
  const int64_t begin = clock.begin(first), end = clock.begin(last) + clock.rows(last);
  const int64_t panels = (product.columns + kDenseWidth<T> - 1) / kDenseWidth<T>;
  return matmul_tiles(product, {begin, end}, {0, panels}, worker);
}

// The sequences that a step works on: those that run on from the step after in time, done just
// before; those that only begin here, for they end at this step, which have no product; those that
// began at the step after, whose product is part of dL/d initial state.
enum StepPart : int { kRunning, kBeginning, kEnding, kStepParts };

NORMRNN_INLINE Range rows_of(StepPart part, const Clock& clock, int64_t step, Range share) {
  const int64_t now = clock.rows(step), before = clock.rows(step + 1);
  if (part == kRunning) return overlap(share, {0, min_of(now, before)});
  return overlap(share, part == kBeginning ? Range{before, now} : Range{now, before});
}

// dL/d(W h) as operands: all packed rows, or those of the step just done.
template <class E>
struct Recurrent {
  const E* data;
  int64_t ld;
  bool of_a_step;
};

// The products of one part of a step and what follows from them.
template <class Cell, class T, class E>
bool backward_tiles(const LayerBackward<T, E>& op, const Recurrent<E>& recurrent, StepPart part,
                    Range rows, Range own, const Clock& clock, int64_t step, Worker& worker) {
  const int64_t panels = (op.hidden + kDenseWidth<T> - 1) / kDenseWidth<T>;
  const int64_t depth = part == kBeginning ? 0 : Products<Cell>::kGates * op.gate_operands;
  alignas(64) T zeros[NORMRNN_ACCUMULATORS * kLanes<T>] = {};
  const bool extras = op.masks.any || op.terms.any;
  const auto operands = [&](int64_t r, int64_t p, Segment<E>* at) {
    if (part == kBeginning) return void(at[0] = {});
    const int64_t row = recurrent.of_a_step ? r : clock.begin(step + 1) + r;
    at[0] = {recurrent.data + row * recurrent.ld, recurrent.ld, depth,
             op.recurrent + p * depth * kDenseWidth<T>};
  };
  const auto start = [&](int64_t r, int64_t count, int64_t p, int64_t at_once) {
    for (int64_t j = 0; j < at_once; ++j) {
      prefetch_step<Cell>(op, clock, step - 1, r, r + count, p + j);
    }
    return Start<T>{zeros, 0};
  };
  const auto done = [&](const T* tile, int64_t r, int64_t count, int64_t p, int64_t at_once) {
    for (int64_t j = 0; j < at_once; ++j) {
      const T* product = tile + j * count * kDenseWidth<T>;
      if (part != kBeginning && op.terms.products) {
        keep_products(op, product, count, p + j, panels, clock.begin(step + 1) + r, r);
      }
      if (part == kEnding) {
        add_to_d_state(op, product, count, p + j, r);
      } else if (extras) {
        backward_epilogue<Cell, true>(op, product, count, p + j, panels, r, clock, step);
      } else {
        backward_epilogue<Cell, false>(op, product, count, p + j, panels, r, clock, step);
      }
    }
    return !worker.cancelled(count * at_once * depth * kDenseWidth<T>);
  };
  const Tiles<T, E, 1, 0, kDenseSets> tiles{rows, own, 1};
  return tiles.run(depth, operands, start, done);
}

template <class Cell, class T, class E>
void layer_backward(const LayerBackward<T, E>& op, Worker& worker) {
  const int64_t panels = (op.hidden + kDenseWidth<T> - 1) / kDenseWidth<T>;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.shares, op.batch, panels);

  const Recurrent<E> recurrent{op.operands + Cell::kSplit * op.gate_operands, op.operands_ld,
                               false};
  int64_t followed = op.times;  // first of the steps whose dy is there
  for (int64_t step = op.times - 1; step >= -1; --step) {
    if (op.pace == Pace::kFollow && step >= 0 && step < followed) {
      int64_t rows = clock.rows(step);
      for (followed = step; followed > 0 && rows < op.above_rows;) rows += clock.rows(--followed);
      if (!follow_above(op, clock, followed, step, worker)) return;
    }
    for (int i = 0; i < kStepParts; ++i) {
      const StepPart part = StepPart(i);
      const Range rows = rows_of(part, clock, step, share.rows);
      if (rows.begin >= rows.end) continue;
      if (!backward_tiles<Cell>(op, recurrent, part, rows, share.panels, clock, step, worker)) {
        return;
      }
    }
    if (splits_units(worker, op.shares) && !worker.barrier()) return;
    if (op.pace == Pace::kLead) worker.publish(op.times - step);
  }
}

}  // namespace normrnn::NORMRNN_TARGET
