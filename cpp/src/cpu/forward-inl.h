// The time loop of one direction of one layer, forwards, for any cell.
//
// U x is part of each step's tiles, or, where a step has few rows, done for a chunk of steps at a
// time before them: a tile of many rows reads U once for all of them. The order of the additions is
// the same, and so are the results.
#pragma once

#include "cpu/layer-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::LayerForward;
using cpu::Pace;

// Row of the state block that step `step` writes; step -1 is the initial block.
template <class T, class E>
NORMRNN_INLINE int64_t state_block(const LayerForward<T, E>& op, const Clock& clock, int s,
                                   int64_t step) {
  if (step < 0) return 0;
  return op.batch + (op.keep[s] ? clock.begin(step) : (step & 1) * op.batch);
}

// Zoneout: units that stay as they were, or, in evaluation, the mean over them.
template <class T>
NORMRNN_INLINE Vec<T> zoned(const MaskRow<T>& row, T blend, int64_t unit, Vec<T> prev,
                            Vec<T> next) {
  if (row.exists()) return row.kept(unit) ? next : prev;
  return blend != 0 ? next + blend * (prev - next) : next;
}

// The cell on rows [r, r + rows) and one panel of units, from the tile of pre-activations. The
// first row is that of `sequence`.
template <class Cell, bool kMasked, class T, class E>
void forward_epilogue(const LayerForward<T, E>& op, const T* tile, int64_t rows, int64_t panel,
                      const int64_t* prev_row, const int64_t* next_row, int64_t packed_row,
                      int64_t sequence) {
  using L = Layout<Cell>;
  constexpr int kL = kLanes<T>;
  for (int64_t m = 0; m < rows; ++m) {
    for (int v = 0; v < L::kUnits; ++v) {
      const int64_t unit = panel * L::template kPanel<T> + v * kL;
      const int n = int(min_of(kL, op.hidden - unit));
      if (n <= 0) break;
      const T* at = tile + m * L::template kWidth<T> + v * kL;
      Vec<T> pre[Cell::kGates], rec[Cell::kSplit + 1], tape[Cell::kTape + 1];
      Vec<T> prev[Cell::kStates], next[Cell::kStates];
      for (int g = 0; g < Cell::kGates; ++g) {
        pre[g] = load(at + place_of_input<Cell>(g) * L::template kPanel<T>);
      }
      for (int g = 0; g < Cell::kSplit; ++g) {
        rec[g] = load(at + (Cell::kGates + g) * L::template kPanel<T>);
      }
      for (int s = 0; s < Cell::kStates; ++s) {
        prev[s] = load(op.state[s] + (prev_row[s] + m) * op.state_ld + unit);
      }
      Vec<T> operand, output;  // h as the next product reads it, and as y
      if constexpr (kMasked) {
        const cpu::Masks<T>& masks = op.masks;
        const auto row_of = [&](const Mask<T>& mask) __attribute__((always_inline)) {
          return MaskRow<T>(mask, packed_row + m, sequence + m);
        };
        const MaskRow<T> candidate = row_of(masks.candidate);
        Cell::forward(pre, rec, prev, next, tape, CandidateDrop<T>{candidate, unit});
        for (int s = 0; s < Cell::kStates; ++s) {
          next[s] = zoned(row_of(masks.zoneout[s]), masks.blend[s], unit, prev[s], next[s]);
        }
        operand = row_of(masks.state)(next[0], unit);
        output = row_of(masks.output)(next[0], unit);
        if (op.masked_h) store(op.masked_h + (next_row[0] + m) * op.state_ld + unit, operand);
        if constexpr (cpu::kNumbersIn<E> > 1) {
          if (op.y_operands) {
            store_as(op.y_operands + (packed_row + m) * op.h_ld + unit / cpu::kNumbersIn<E>,
                     first_lanes<T>(output, n));
          }
        }
      } else {
        Cell::forward(pre, rec, prev, next, tape, NoDrop{});
        operand = output = next[0];
      }
      for (int s = 0; s < Cell::kStates; ++s) {
        store(op.state[s] + (next_row[s] + m) * op.state_ld + unit, next[s]);
      }
      if constexpr (cpu::kNumbersIn<E> > 1) {
        // Lanes past the last unit count as 0: next to an odd one they are read.
        store_as(op.h + (next_row[0] + m) * op.h_ld + unit / cpu::kNumbersIn<E>,
                 first_lanes<T>(operand, n));
      }
      if (op.tape) {
        for (int j = 0; j < Cell::kTape; ++j) {
          store(op.tape + ((packed_row + m) * Cell::kTape + j) * op.tape_ld + unit, tape[j]);
        }
      }
      if (op.y.data) {
        const int64_t i = packed_row + m;
        store_n(op.y.data + (op.y.slot ? op.y.slot[i] : i) * op.y.ld + unit, output, n);
      }
    }
  }
}

// Asks for the lines that forward_epilogue will write, before the product: a store waits for them.
// Each line once, with the panel that it begins in; states that are not kept are in the caches.
template <class Cell, class T, class E>
NORMRNN_INLINE void prefetch_written(const LayerForward<T, E>& op, const int64_t* next_block,
                                     int64_t first_row, int64_t r, int64_t rows, int64_t unit,
                                     int64_t units) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  const int64_t begin = (unit + kLine - 1) / kLine * kLine, end = unit + units;
  if (begin >= end) return;
  const auto fetch = [&](const T* at) __attribute__((always_inline)) {
    for (int64_t i = begin; i < end; i += kLine) __builtin_prefetch(at + i, 1, 3);
  };
  for (int64_t m = r; m < r + rows; ++m) {
    const int64_t i = first_row + m;
    if (op.y.data) fetch(op.y.data + (op.y.slot ? op.y.slot[i] : i) * op.y.ld);
    for (int s = 0; s < Cell::kStates; ++s) {
      if (op.keep[s]) fetch(op.state[s] + (next_block[s] + m) * op.state_ld);
    }
  }
}

// Asks for rows that others have made, all lines at once: as a product comes to them, one after the
// other would be waited for. More than half of the first cache would drive out what came first.
template <class E>
NORMRNN_INLINE void fetch_rows(const E* row, int64_t rows, int64_t ld) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(E)), kMost = 16384 / int64_t(sizeof(E));
  if (rows * ld > kMost) return;
  for (int64_t i = 0; i < rows * ld; i += kLine) __builtin_prefetch(row + i, 0, 3);
}

// op.input_product = bias + U x for `rows` packed rows from first_row on, this worker's panels.
template <class Cell, class T, class E>
bool input_products(const LayerForward<T, E>& op, Range panels, int64_t first_row, int64_t rows,
                    Worker& worker) {
  using L = Layout<Cell>;
  constexpr int kPanel = L::template kPanel<T>, kWidth = L::template kWidth<T>;
  const int64_t depth = terms_of(op.input, op.segments);
  const auto operands = [&](int64_t r, int64_t p, Segment<E>* at) {
    place_segments(op.input, op.segments, first_row + r, p, Cell::kGates * kPanel, at);
    at[op.segments] = {};
  };
  const auto start = [&](int64_t, int64_t, int64_t p, int64_t) {
    return Start<T>{op.bias + p * kWidth, 0};
  };
  const auto done = [&](const T* tile, int64_t r, int64_t count, int64_t p, int64_t at_once) {
    for (int64_t j = 0; j < at_once; ++j) {
      for (int64_t m = 0; m < count; ++m) {
        T* out = op.input_product + (r + m) * op.product_ld + (p + j) * kWidth;
        const T* row = tile + (j * count + m) * kWidth;
        for (int v = 0; v < kWidth; v += kLanes<T>) store(out + v, load(row + v));
      }
    }
    return !worker.cancelled(count * at_once * depth * kWidth);
  };
  const Tiles<T, E, Cell::kGates, Cell::kSplit, L::kUnits> tiles{
      {0, rows}, panels, op.segments + 1};
  return tiles.run(depth, operands, start, done);
}

template <class Cell, class T, class E>
void layer_forward(const LayerForward<T, E>& op, Worker& worker) {
  using L = Layout<Cell>;
  constexpr int kPanel = L::template kPanel<T>, kWidth = L::template kWidth<T>;
  const int64_t panels = (op.hidden + kPanel - 1) / kPanel;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.shares, op.batch, panels);
  const auto epilogue =
      op.masks.any ? forward_epilogue<Cell, true, T, E> : forward_epilogue<Cell, false, T, E>;
  const bool split = splits_units(worker, op.shares);
  const bool ahead_of_steps = op.input_product && share.rows.end - share.rows.begin == op.batch;
  const int segments = ahead_of_steps ? 0 : op.segments;
  const int64_t recurrent_k = cpu::operands_of<E>(op.hidden);
  const int64_t depth = terms_of(op.input, segments) + recurrent_k;

  int64_t chunk_end = 0, chunk_row = 0;
  for (int64_t step = 0; step < op.times; ++step) {
    if (ahead_of_steps && step == chunk_end) {
      int64_t rows = 0;
      for (; chunk_end < op.times && rows + clock.rows(chunk_end) <= op.product_rows; ++chunk_end) {
        rows += clock.rows(chunk_end);
      }
      if (op.pace == Pace::kFollow && !worker.await(chunk_end)) return;
      chunk_row = op.reverse ? clock.begin(chunk_end - 1) : clock.begin(step);
      if (!input_products<Cell>(op, share.panels, chunk_row, rows, worker)) return;
    }
    if (op.pace == Pace::kFollow && !ahead_of_steps && !worker.await(step + 1)) return;
    const int64_t now = clock.rows(step);
    const int64_t running = min_of(now, clock.rows(step - 1));  // the others start here
    const Range parts[2] = {overlap(share.rows, {0, running}), overlap(share.rows, {running, now})};
    for (int part = 0; part < 2; ++part) {
      const auto [begin, end] = parts[part];
      if (begin >= end) continue;
      int64_t prev_block[Cell::kStates], next_block[Cell::kStates];
      for (int s = 0; s < Cell::kStates; ++s) {
        prev_block[s] = part == 0 ? state_block(op, clock, s, step - 1) : 0;
        next_block[s] = state_block(op, clock, s, step);
      }
      const int64_t first_row = clock.begin(step);
      if (split) fetch_rows(op.h + (prev_block[0] + begin) * op.h_ld, end - begin, op.h_ld);
      const auto operands = [&](int64_t r, int64_t p, Segment<E>* at) {
        place_segments(op.input, segments, first_row + r, p, Cell::kGates * kPanel, at);
        at[segments] = {op.h + (prev_block[0] + r) * op.h_ld, op.h_ld, recurrent_k,
                        op.recurrent + p * recurrent_k * Cell::kGates * kPanel};
      };
      const auto start = [&](int64_t r, int64_t rows, int64_t p, int64_t count) {
        prefetch_written<Cell>(op, next_block, first_row, r, rows, p * kPanel, count * kPanel);
        if (!ahead_of_steps) return Start<T>{op.bias + p * kWidth, 0};
        const int64_t row = first_row + r - chunk_row;
        return Start<T>{op.input_product + row * op.product_ld + p * kWidth, op.product_ld};
      };
      const auto done = [&](const T* tile, int64_t r, int64_t rows, int64_t p, int64_t count) {
        int64_t prev_row[Cell::kStates], next_row[Cell::kStates];
        for (int s = 0; s < Cell::kStates; ++s) {
          prev_row[s] = prev_block[s] + r;
          next_row[s] = next_block[s] + r;
        }
        for (int64_t j = 0; j < count; ++j) {
          epilogue(op, tile + j * rows * kWidth, rows, p + j, prev_row, next_row, first_row + r, r);
        }
        return !worker.cancelled(rows * count * depth * kWidth);
      };
      const Tiles<T, E, Cell::kGates, Cell::kSplit, L::kUnits> tiles{
          {begin, end}, share.panels, segments + 1};
      if (!tiles.run(depth, operands, start, done)) return;
    }
    if (split && !worker.barrier()) return;
    if (op.pace == Pace::kLead) worker.publish(step + 1);
  }
}

}  // namespace normrnn::NORMRNN_TARGET
