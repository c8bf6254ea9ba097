// Plain products: the input's gradient and the output head.
#pragma once

#include "cpu/threads.h"
#include "cpu/tiles-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::MatMul;

constexpr int kDenseSets = 2;  // vectors across a panel of a plain product
template <class T>
constexpr int kDenseWidth = kDenseSets * kLanes<T>;
constexpr int kDenseRows = tile_rows(kDenseSets);

// Rows and panels of c.
template <class T, class E>
bool matmul_tiles(const MatMul<T, E>& op, Range rows, Range panels, Worker& worker) {
  constexpr int kW = kDenseWidth<T>;
  const int64_t depth = terms_of(op.segment, op.segments);
  constexpr int kMost = NORMRNN_ACCUMULATORS * kLanes<T>;  // columns of the widest tile
  alignas(64) T bias[kMost] = {};
  const auto operands = [&](int64_t r, int64_t p, Segment<E>* at) {
    place_segments(op.segment, op.segments, r, p, kW, at);
  };
  const auto start = [&](int64_t, int64_t, int64_t p, int64_t) {
    for (int64_t n = 0; op.bias && n < min_of(kMost, op.columns - p * kW); ++n) {
      bias[n] = op.bias[p * kW + n];
    }
    return Start<T>{bias, 0};
  };
  const auto done = [&](const T* tile, int64_t r, int64_t count, int64_t p, int64_t at_once) {
    for (int64_t j = 0; j < at_once; ++j) {
      const int64_t first = (p + j) * kW;
      for (int64_t m = 0; m < count; ++m) {
        T* c = op.c.data + (op.c.slot ? op.c.slot[r + m] : r + m) * op.c.ld + first;
        for (int v = 0; v < kDenseSets; ++v) {
          const int n = int(min_of(kLanes<T>, op.columns - first - v * kLanes<T>));
          const T* at = tile + (j * count + m) * kW + v * kLanes<T>;
          if (n > 0) store_n(c + v * kLanes<T>, load(at), n);
        }
      }
    }
    return !worker.cancelled(count * at_once * depth * kW);
  };
  const Tiles<T, E, 1, 0, kDenseSets> tiles{rows, panels, op.segments};
  return tiles.run(depth, operands, start, done);
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
  for (int64_t task = worker.next(); task < groups * parts; task = worker.next()) {
    const int64_t begin = task / parts * kGroup, end = min_of(op.rows, begin + kGroup);
    const int64_t part = task % parts;
    const Range own{panels * part / parts, panels * (part + 1) / parts};
    if (!matmul_tiles(op, {begin, end}, own, worker)) return;
  }
}

}  // namespace normrnn::NORMRNN_TARGET
