// The time loops of one direction of one layer whose recurrent weights are a vector, forwards and
// backwards: elementwise, after the input's product for a chunk of steps. Units do not feel each
// other, so each worker has its own, and nobody waits.
#pragma once

#include "cpu/backward-inl.h"
#include "cpu/forward-inl.h"

namespace normrnn::NORMRNN_TARGET {

template <class Cell, class T, class E>
void diagonal_forward(const LayerForward<T, E>& op, Worker& worker) {
  using L = Layout<Cell>;
  constexpr int kL = kLanes<T>, kPanel = L::template kPanel<T>;
  const int64_t panels = (op.hidden + kPanel - 1) / kPanel;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.shares, op.batch, panels);
  const auto epilogue =
      op.masks.any ? forward_epilogue<Cell, true, T, E> : forward_epilogue<Cell, false, T, E>;
  const T* h = op.masked_h ? op.masked_h : op.state[0];
  alignas(64) T tile[L::kRows * kPanel];

  int64_t chunk_end = 0, chunk_row = 0;
  for (int64_t step = 0; step < op.times; ++step) {
    if (step == chunk_end) {
      int64_t rows = 0;
      for (; chunk_end < op.times && rows + clock.rows(chunk_end) <= op.product_rows; ++chunk_end) {
        rows += clock.rows(chunk_end);
      }
      chunk_row = op.reverse ? clock.begin(chunk_end - 1) : clock.begin(step);
      if (!input_products<Cell>(op, share.panels, chunk_row, rows, worker)) return;
    }
    const int64_t now = clock.rows(step);
    const int64_t running = min_of(now, clock.rows(step - 1));  // the others start here
    const Range parts[2] = {{0, running}, {running, now}};
    for (int part = 0; part < 2; ++part) {
      const int64_t prev = part == 0 ? state_block(op, clock, 0, step - 1) : 0;
      const int64_t next = state_block(op, clock, 0, step);
      for (int64_t p = share.panels.begin; p < share.panels.end; ++p) {
        for (int64_t r = parts[part].begin; r < parts[part].end; r += L::kRows) {
          const int64_t rows = min_of(L::kRows, parts[part].end - r);
          const int64_t packed_row = clock.begin(step) + r, prev_row = prev + r,
                        next_row = next + r;
          for (int v = 0; v < L::kUnits; ++v) {
            const int64_t unit = p * kPanel + v * kL;
            if (unit >= op.hidden) break;
            const Vec<T> u = load_n(op.diagonal + unit, int(min_of(kL, op.hidden - unit)));
            for (int64_t m = 0; m < rows; ++m) {
              const Vec<T> sum =
                  load(op.input_product + (packed_row - chunk_row + m) * op.product_ld +
                       p * kPanel + v * kL);
              const Vec<T> prev_h = load(h + (prev_row + m) * op.state_ld + unit);
              store(tile + m * kPanel + v * kL, sum + u * prev_h);
            }
          }
          epilogue(op, tile, rows, p, &prev_row, &next_row, packed_row, r);
        }
      }
    }
    if (worker.cancelled(now * (share.panels.end - share.panels.begin) * kPanel * 8)) return;
  }
}

// The gradient of u: over the rows of a step, then over steps in double, each unit by one worker.
template <class Cell, class T, class E>
void diagonal_backward(const LayerBackward<T, E>& op, Worker& worker) {
  constexpr int kL = kLanes<T>;
  const int64_t panels = (op.hidden + kDenseWidth<T> - 1) / kDenseWidth<T>;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.shares, op.batch, panels);
  alignas(64) T tile[kDenseRows * kDenseWidth<T>] = {};

  for (int64_t step = op.times - 1; step >= -1; --step) {
    const int64_t now = clock.rows(step), before = clock.rows(step + 1);
    const int64_t running = clock.rows(step - 1);
    const Range parts[3] = {{0, min_of(now, before)}, {before, now}, {now, before}};
    for (int64_t p = share.panels.begin; p < share.panels.end; ++p) {
      Vec<T> d_u[kDenseSets] = {};
      for (int part = 0; part < 3; ++part) {
        for (int64_t r = parts[part].begin; r < parts[part].end; r += kDenseRows) {
          const int64_t rows = min_of(kDenseRows, parts[part].end - r);
          prefetch_step<Cell>(op, clock, step - 1, r, r + rows, p);
          for (int v = 0; v < kDenseSets; ++v) {
            const int64_t unit = p * kDenseWidth<T> + v * kL;
            const int n = int(max_of(0, min_of(kL, op.hidden - unit)));
            const Vec<T> u = load_n(op.diagonal + unit, n);
            for (int64_t m = 0; m < rows; ++m) {
              Vec<T> sent = {};
              if (part != 1) {
                const int64_t after = clock.begin(step + 1) + r + m;
                sent = u * load_n(op.d_gates + after * op.gates_ld + unit, n);
              }
              store(tile + m * kDenseWidth<T> + v * kL, sent);
            }
          }
          if (part == 2) {
            add_to_d_state(op, tile, rows, p, r);
            continue;
          }
          if (op.masks.any || op.terms.any) {
            backward_epilogue<Cell, true>(op, tile, rows, p, panels, r, clock, step);
          } else {
            backward_epilogue<Cell, false>(op, tile, rows, p, panels, r, clock, step);
          }
          for (int64_t m = r; m < r + rows; ++m) {
            const int64_t prev_row = m >= running ? m : op.batch + clock.begin(step - 1) + m;
            for (int v = 0; v < kDenseSets; ++v) {
              const int64_t unit = p * kDenseWidth<T> + v * kL;
              const int n = int(max_of(0, min_of(kL, op.hidden - unit)));
              d_u[v] += load_n(op.d_gates + (clock.begin(step) + m) * op.gates_ld + unit, n) *
                        load_n(op.diagonal_h + prev_row * op.state_ld + unit, n);
            }
          }
        }
      }
      T lanes[kDenseWidth<T>];
      for (int v = 0; v < kDenseSets; ++v) store(lanes + v * kL, d_u[v]);
      for (int64_t u = 0; u < kDenseWidth<T>; ++u) {
        op.d_diagonal[p * kDenseWidth<T> + u] += double(lanes[u]);
      }
    }
    if (worker.cancelled(now * (share.panels.end - share.panels.begin) * kDenseWidth<T> * 8)) {
      return;
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
