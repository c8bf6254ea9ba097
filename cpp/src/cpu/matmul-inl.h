// Plain products: the input's gradient and the output head.
#pragma once

#include "cpu/threads.h"
#include "cpu/tile.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::MatMul;

constexpr int kDenseSets = 2;  // vectors across a panel of a plain product
template <class T>
constexpr int kDenseWidth = kDenseSets * kLanes<T>;
constexpr int kDenseRows = tile_rows(kDenseSets);

// Rows [begin, end) of c, panel p.
template <class T, class E>
void matmul_panel(const MatMul<T, E>& op, int64_t begin, int64_t end, int64_t p) {
  constexpr int kW = kDenseWidth<T>;
  const int64_t first = p * kW, count = min_of(kW, op.columns - first);
  alignas(64) T tile[kDenseRows * kW];
  alignas(64) T start[kW] = {};
  if (op.bias) {
    for (int64_t n = 0; n < count; ++n) start[n] = op.bias[first + n];
  }
  const int64_t height = even_height(end - begin, kDenseRows);
  for (int64_t i = begin, slice = 0; i < end; i += height, ++slice) {
    const int64_t rows = min_of(height, end - i);
    Segment<E> at[kMaxSegments];
    for (int s = 0; s < op.segments; ++s) {
      at[s] = op.segment[s];
      at[s].a += i * at[s].ld;
      at[s].b += p * at[s].k * kW;
    }
    step_tile_of<T, E, kDenseRows, 1, 0, kDenseSets>(rows, 1, {start, 0}, at, op.segments - 1,
                                                     at[op.segments - 1], slice, tile);
    for (int64_t m = 0; m < rows; ++m) {
      T* c = op.c.data + (op.c.slot ? op.c.slot[i + m] : i + m) * op.c.ld + first;
      for (int v = 0; v < kDenseSets; ++v) {
        const int n = int(count) - v * kLanes<T>;
        if (n > 0) store_n(c + v * kLanes<T>, load(tile + m * kW + v * kLanes<T>), n);
      }
    }
  }
}

// Tasks are groups of rows, large enough to use each panel of b several times, times groups of
// panels, where there are too few rows to keep every worker busy.
template <class T, class E>
void matmul(const MatMul<T, E>& op, Worker& worker) {
  constexpr int64_t kGroup = 8 * kDenseRows, kTasksEach = 4;
  const int64_t panels = (op.columns + kDenseWidth<T> - 1) / kDenseWidth<T>;
  const int64_t groups = (op.rows + kGroup - 1) / kGroup;
  if (groups == 0) return;
  const int64_t parts = min_of(panels, (kTasksEach * worker.size() + groups - 1) / groups);
  int64_t depth = 0;
  for (int s = 0; s < op.segments; ++s) depth += op.segment[s].k;
  for (int64_t task = worker.next(); task < groups * parts; task = worker.next()) {
    const int64_t begin = task / parts * kGroup, end = min_of(op.rows, begin + kGroup);
    const int64_t part = task % parts;
    for (int64_t p = panels * part / parts; p < panels * (part + 1) / parts; ++p) {
      matmul_panel(op, begin, end, p);
      if (worker.cancelled((end - begin) * depth * kDenseWidth<T>)) return;
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
