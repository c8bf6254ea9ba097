// The time loop of one direction of one layer whose cell has layer norm, forwards.
//
// A norm needs all gates of a row before the cell sees any, so products go to rows in memory, gate
// by gate, [G*H], instead of tiles in registers, and then a row at a time is normalised and handed
// to the cell. U x and its moments are made for a chunk of steps ahead, each worker taking a part
// of the chunk's rows. In the loop each worker has its own sequences, and nobody waits; or hidden
// units are split, and all wait for a row's products, then each takes the moments of all of it, and
// hands its own units to the cell.
#pragma once

#include "cpu/forward-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::kInputNorm;
using cpu::kRecurrentNorm;
using cpu::kStateNorm;
using cpu::Norm;

// f(i, n, v) for all elements of a row in turn: n elements from the i-th on, whole vectors but for
// the last one; v in [0, 4) says which of four sums they belong to.
template <class T, class F>
NORMRNN_INLINE void along_row(int64_t width, F&& f) {
  constexpr int kL = kLanes<T>;
  int64_t i = 0;
  for (; i + 4 * kL <= width; i += 4 * kL) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) f(i + v * kL, kL, v);
  }
  for (int v = 0; i < width; i += kL, ++v) f(i, int(min_of(kL, width - i)), v);
}

template <class T>
NORMRNN_INLINE double sum_of(const Vec<T> (&part)[4]) {
  return sum_lanes<T>((part[0] + part[1]) + (part[2] + part[3]));
}

// Of a row: its mean, and as scale 1 / sqrt(variance + 1e-5).
template <class T>
struct Moments {
  T mean, scale;
};

template <class T>
NORMRNN_INLINE Moments<T> kept_moments(const Norm<T>& norm, int64_t row) {
  return {norm.moments[2 * row], norm.moments[2 * row + 1]};
}

template <class T>
NORMRNN_INLINE void keep_moments(const Norm<T>& norm, int64_t row, const Moments<T>& moments) {
  norm.moments[2 * row] = moments.mean;
  norm.moments[2 * row + 1] = moments.scale;
}

// In two passes over the row. Squares are summed in double: they neither overflow nor lose small
// terms.
template <class T>
NORMRNN_INLINE Moments<T> moments_of(const Norm<T>& norm, int64_t row) {
  constexpr double kEpsilon = 1e-5;
  const T* a = norm.raw + row * norm.ld;
  Vec<T> sum[4] = {};
  along_row<T>(norm.width, [&](int64_t i, int n, int v)
                               __attribute__((always_inline)) { sum[v] += load_n(a + i, n); });
  const T mean = T(sum_of<T>(sum) / double(norm.width));
  Doubles squares[4][2] = {};
  along_row<T>(norm.width, [&](int64_t i, int n, int v) __attribute__((always_inline)) {
    add_squares(squares[v], first_lanes<T>(load_n(a + i, n) - splat(mean), n));
  });
  Doubles all = {};
  for (int v = 0; v < 4; ++v) all += squares[v][0] + squares[v][1];
  return {mean, T(1 / __builtin_sqrt(sum_lanes<double>(all) / double(norm.width) + kEpsilon))};
}

// n elements of a row, normalised.
template <class T>
NORMRNN_INLINE Vec<T> normalised(const Norm<T>& norm, int64_t row, const Moments<T>& moments,
                                 int64_t i, int n) {
  return (load_n(norm.raw + row * norm.ld + i, n) - splat(moments.mean)) * splat(moments.scale) *
             load_n(norm.gain + i, n) +
         load_n(norm.bias + i, n);
}

// out[rows, gates * hidden] = the sum of all segments, for some panels.
template <class Cell, class T, class E>
bool gate_products(const Segment<E>* segment, int segments, int64_t rows, Range panels,
                   int64_t hidden, T* out, int64_t ld, Worker& worker) {
  using L = Layout<Cell>;
  constexpr int kL = kLanes<T>, kPanel = L::template kPanel<T>, kWidth = Cell::kGates * kPanel;
  alignas(64) T zeros[tile_vectors(Cell::kGates, L::kUnits) * kL] = {};
  const int64_t depth = terms_of(segment, segments);
  const auto operands = [&](int64_t r, int64_t p, Segment<E>* at) {
    place_segments(segment, segments, r, p, kWidth, at);
  };
  const auto start = [&](int64_t, int64_t, int64_t, int64_t) { return Start<T>{zeros, 0}; };
  const auto done = [&](const T* tile, int64_t r, int64_t count, int64_t p, int64_t at_once) {
    for (int64_t j = 0; j < at_once; ++j) {
      for (int v = 0; v < L::kUnits; ++v) {
        const int64_t unit = (p + j) * kPanel + v * kL;
        const int n = int(min_of(kL, hidden - unit));
        if (n <= 0) break;
        for (int64_t m = 0; m < count; ++m) {
          const T* from = tile + (j * count + m) * kWidth + v * kL;
          for (int g = 0; g < Cell::kGates; ++g) {
            store_n(out + (r + m) * ld + g * hidden + unit, load(from + g * kPanel), n);
          }
        }
      }
    }
    return !worker.cancelled(count * at_once * depth * kWidth);
  };
  const Tiles<T, E, Cell::kGates, 0, L::kUnits> tiles{{0, rows}, panels, segments};
  return tiles.run(depth, operands, start, done);
}

// U x and its moments for packed rows [begin, end), of which `first` is at row 0 of the norm.
template <class Cell, class T, class E>
bool input_norms(const LayerForward<T, E>& op, int64_t begin, int64_t end, int64_t first,
                 Worker& worker) {
  using P = Products<Cell>;
  const Norm<T>& norm = op.norms.of[kInputNorm];
  const int64_t panel = Layout<P>::template kPanel<T>;
  Segment<E> input[kMaxSegments];
  for (int s = 0; s < op.segments; ++s) {
    input[s] = op.input[s];
    input[s].a += begin * input[s].ld;
  }
  if (!gate_products<P>(input, op.segments, end - begin, {0, (op.hidden + panel - 1) / panel},
                        op.hidden, norm.raw + (begin - first) * norm.ld, norm.ld, worker)) {
    return false;
  }
  for (int64_t i = begin - first; i < end - first; ++i) keep_moments(norm, i, moments_of(norm, i));
  return true;
}

// Where a unit's first gate stands in a row as the cell takes it.
template <class Cell, class T>
NORMRNN_INLINE T* gate_at(T* row, int64_t unit) {
  constexpr int kPanel = Layout<Cell>::template kPanel<T>;
  return row + unit / kPanel * Layout<Cell>::template kWidth<T> + unit % kPanel;
}

// What the cell takes for some units, panel by panel, from row `input` of U x and row `own` of W h.
template <class Cell, class T, class E>
NORMRNN_INLINE void fill_gates(const LayerForward<T, E>& op, int64_t input, int64_t own,
                               const Moments<T>& moments, Range units, T* row) {
  using P = Products<Cell>;
  constexpr int kPanel = Layout<Cell>::template kPanel<T>;
  static_assert(kPanel == Layout<P>::template kPanel<T>);
  const Norm<T>&in = op.norms.of[kInputNorm], &rec = op.norms.of[kRecurrentNorm];
  const Moments<T> in_moments = kept_moments(in, input);
  for (int64_t unit = units.begin; unit < units.end; unit += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, units.end - unit));
    T* out = gate_at<Cell>(row, unit);
#pragma GCC unroll 8
    for (int j = 0; j < P::kGates + P::kSplit; ++j) {
      Vec<T> sum = {};
      if (j < P::kGates) sum = normalised(in, input, in_moments, j * op.hidden + unit, n);
      if (j >= P::kSplit) {
        sum += normalised(rec, own, moments, (j - P::kSplit) * op.hidden + unit, n);
      }
      store(out + j * kPanel, sum);
    }
  }
}

// The first half of a step of a cell that normalises its state: the gates, and c' before its norm.
template <class Cell, class T, class E>
NORMRNN_INLINE void inner_state(const LayerForward<T, E>& op, const int64_t* prev_row, int64_t own,
                                const MaskRow<T>& candidate, Range units, T* row) {
  constexpr int kGates = Products<Cell>::kGates, kPanel = Layout<Cell>::template kPanel<T>;
  const Norm<T>& norm = op.norms.of[kStateNorm];
  for (int64_t unit = units.begin; unit < units.end; unit += kLanes<T>) {
    T* gates = gate_at<Cell>(row, unit);
    Vec<T> pre[kGates], prev[Cell::kStates];
    for (int g = 0; g < kGates; ++g) pre[g] = load(gates + g * kPanel);
    for (int s = 0; s < Cell::kStates; ++s) {
      prev[s] = load(op.state[s] + prev_row[s] * op.state_ld + unit);
    }
    const Vec<T> inner = Cell::inner(pre, prev, CandidateDrop<T>{candidate, unit});
    for (int g = 0; g < kGates; ++g) store(gates + g * kPanel, pre[g]);
    store_n(norm.raw + own * norm.ld + unit, inner, int(min_of(kLanes<T>, units.end - unit)));
  }
}

// The second half's z.
template <class Cell, class T, class E>
NORMRNN_INLINE void fill_state(const LayerForward<T, E>& op, int64_t own, const Moments<T>& moments,
                               Range units, T* row) {
  constexpr int kGates = Products<Cell>::kGates, kPanel = Layout<Cell>::template kPanel<T>;
  for (int64_t unit = units.begin; unit < units.end; unit += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, units.end - unit));
    store(gate_at<Cell>(row, unit) + kGates * kPanel,
          normalised(op.norms.of[kStateNorm], own, moments, unit, n));
  }
}

template <class Cell, class T, class E>
void layernorm_forward(const LayerForward<T, E>& op, Worker& worker) {
  constexpr int kPanel = Layout<Cell>::template kPanel<T>;
  constexpr int kWidth = Layout<Cell>::template kWidth<T>;
  const int64_t panels = (op.hidden + kPanel - 1) / kPanel;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.shares, op.batch, panels);
  const Range units{share.panels.begin * kPanel, min_of(op.hidden, share.panels.end * kPanel)};
  const int64_t depth = cpu::operands_of<E>(op.hidden), size = worker.size();
  const Norm<T>&norm = op.norms.of[kRecurrentNorm], &state_norm = op.norms.of[kStateNorm];
  const bool split = splits_units(worker, op.shares), keeps = units.begin == 0;
  const auto epilogue =
      op.masks.any ? forward_epilogue<Cell, true, T, E> : forward_epilogue<Cell, false, T, E>;

  int64_t chunk_end = 0, input_first = 0;
  for (int64_t step = 0; step < op.times; ++step) {
    if (step == chunk_end) {
      int64_t rows = 0;
      for (; chunk_end < op.times && rows + clock.rows(chunk_end) <= op.product_rows; ++chunk_end) {
        rows += clock.rows(chunk_end);
      }
      const int64_t first = op.reverse ? clock.begin(chunk_end - 1) : clock.begin(step);
      input_first = op.norms.keep ? 0 : first;
      if (!op.norms.keep && step > 0 && !worker.barrier()) return;  // others read the last chunk
      if (!input_norms<Cell>(op, first + rows * worker.rank() / size,
                             first + rows * (worker.rank() + 1) / size, input_first, worker)) {
        return;
      }
      if (!worker.barrier()) return;
    }
    const int64_t now = clock.rows(step);
    const int64_t running = min_of(now, clock.rows(step - 1));  // the others start here
    const int64_t first_own = op.norms.keep ? clock.begin(step) : 0;
    const auto prev_row = [&](int s, int64_t r) {
      return (r < running ? state_block(op, clock, s, step - 1) : 0) + r;
    };
    const Range parts[2] = {{0, running}, {running, now}};
    for (const Range& part : parts) {
      const auto [begin, end] = overlap(share.rows, part);
      if (begin >= end) continue;
      const Segment<E> recurrent{op.h + prev_row(0, begin) * op.h_ld, op.h_ld, depth, op.recurrent};
      if (!gate_products<Products<Cell>>(&recurrent, 1, end - begin, share.panels, op.hidden,
                                         norm.raw + (first_own + begin) * norm.ld, norm.ld,
                                         worker)) {
        return;
      }
    }
    if (split && !worker.barrier()) return;
    // Where nobody waits for it a row is done at once, while it is in the cache.
    const Range rows = overlap(share.rows, {0, now});
    for (int64_t begin = rows.begin, end; begin < rows.end; begin = end) {
      end = split ? rows.end : begin + 1;
      const auto gate_row = [&](int64_t r) {
        return op.gate_rows + (split ? r : worker.rank()) * op.gate_rows_ld;
      };
      for (int64_t r = begin; r < end; ++r) {
        const int64_t own = first_own + r, packed_row = clock.begin(step) + r;
        const Moments<T> moments = moments_of(norm, own);
        if (keeps) keep_moments(norm, own, moments);
        fill_gates<Cell>(op, packed_row - input_first, own, moments, units, gate_row(r));
        if constexpr (kNormsState<Cell>) {
          int64_t prev[Cell::kStates];
          for (int s = 0; s < Cell::kStates; ++s) prev[s] = prev_row(s, r);
          const MaskRow<T> candidate(op.masks.candidate, packed_row, r);
          inner_state<Cell>(op, prev, own, candidate, units, gate_row(r));
        }
      }
      if (kNormsState<Cell> && split && !worker.barrier()) return;
      for (int64_t r = begin; r < end; ++r) {
        const int64_t own = first_own + r;
        if constexpr (kNormsState<Cell>) {
          const Moments<T> moments = moments_of(state_norm, own);
          if (keeps) keep_moments(state_norm, own, moments);
          fill_state<Cell>(op, own, moments, units, gate_row(r));
        }
        int64_t prev[Cell::kStates], next[Cell::kStates];
        for (int s = 0; s < Cell::kStates; ++s) {
          prev[s] = prev_row(s, r);
          next[s] = state_block(op, clock, s, step) + r;
        }
        for (int64_t p = share.panels.begin; p < share.panels.end; ++p) {
          epilogue(op, gate_row(r) + p * kWidth, 1, p, prev, next, clock.begin(step) + r, r);
        }
      }
    }
    if (split && !worker.barrier()) return;
  }
}

}  // namespace normrnn::NORMRNN_TARGET
