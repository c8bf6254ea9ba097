// Register tiles: the one inner loop that all matrix products of this target share.
//
// A tile is kMr rows by kPanels panels of kSets vectors, held in registers while k runs. b is
// packed so that a panel is contiguous for each k; a is read by broadcast. Each element of the
// result is one chain of additions in the order of k, whatever the tile's shape: a row never feels
// its neighbours, nor how rows or panels were shared out among threads.
#pragma once

#include "cpu/kernels.h"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::Segment;

// Rows of a tile with `sets` vectors each: as many accumulators as the registers hold.
constexpr int tile_rows(int sets) {
  return NORMRNN_ACCUMULATORS / sets > 0 ? NORMRNN_ACCUMULATORS / sets : 1;
}

// Panels side by side in a tile of few rows: without them too few chains of additions would run at
// a time to hide the latency of one.
constexpr int tile_panels(int rows, int sets) {
  int panels = 1;
  while (panels < 8 && 2 * panels * rows * sets <= NORMRNN_ACCUMULATORS) panels *= 2;
  return panels;
}

// Height of the tiles that cover `rows` rows evenly: 16 rows with at most 12 a tile are 8 + 8.
NORMRNN_INLINE int64_t even_height(int64_t rows, int64_t most) {
  const int64_t tiles = (rows + most - 1) / most;
  return tiles ? (rows + tiles - 1) / tiles : 1;
}

// Memory to ask for while a product runs: each step of k fetches the line at `at` and goes on by
// `step` bytes. Anything may be fetched, an address that does not exist too.
struct Ahead {
  const char* at;
  int64_t step;
};

// acc[m][j * kSets + kFirst + n] += sum over k of a(m, k) b(j, k, n), n in [0, kCount), j a panel.
// a(m, k) is a[m * ld + k], or a[k * ld + m] when kColumnMajor. E is T, or pairs of bfloat16.
template <class T, class E, int kMr, int kPanels, int kSets, int kFirst, int kCount,
          bool kColumnMajor>
NORMRNN_INLINE void accumulate(Vec<T> (&acc)[kMr][kPanels * kSets], const E* a, int64_t ld,
                               const E* b, int64_t k_count, Ahead ahead) {
  constexpr int kL = kLanes<T>;
  constexpr int kColumns = kPanels * kCount;
  const int64_t panel = k_count * kCount * kL;
  const auto column_at = [&](int n) { return load(b + n / kCount * panel + n % kCount * kL); };
  const auto place = [](int n) { return n / kCount * kSets + kFirst + n % kCount; };
#pragma GCC unroll 1
  for (int64_t k = 0; k < k_count; ++k) {
    const auto a_at = [&](int m) { return splat(kColumnMajor ? a[m] : a[m * ld]); };
    __builtin_prefetch(ahead.at, 0, 2);
    if constexpr (kMr < kColumns) {  // hold the smaller of the two in registers
      Vec<E> rows[kMr];
#pragma GCC unroll 32
      for (int m = 0; m < kMr; ++m) rows[m] = a_at(m);
#pragma GCC unroll 32
      for (int n = 0; n < kColumns; ++n) {
        const Vec<E> column = column_at(n);
#pragma GCC unroll 32
        for (int m = 0; m < kMr; ++m) multiply_add(acc[m][place(n)], rows[m], column);
      }
    } else {
      Vec<E> columns[kColumns];
#pragma GCC unroll 32
      for (int n = 0; n < kColumns; ++n) columns[n] = column_at(n);
#pragma GCC unroll 32
      for (int m = 0; m < kMr; ++m) {
        const Vec<E> row = a_at(m);
#pragma GCC unroll 32
        for (int n = 0; n < kColumns; ++n) multiply_add(acc[m][place(n)], row, columns[n]);
      }
    }
    a += kColumnMajor ? ld : 1;
    b += kCount * kL;
    ahead.at += ahead.step;
  }
}

// Where the accumulators of a tile begin: one row for all (the biases, row_stride 0) or a row each.
template <class T>
struct Start {
  const T* data;
  int64_t row_stride;
};

// tile[j][m][:] = start + all segments of input (onto sets [0, kGates)) and one recurrent segment
// (onto sets [kSplit, kGates + kSplit)), each set kUnits vectors wide, for panels j. Plain products
// have neither split nor input segments. The tile fetches ahead line `slice` of each k of the panel
// of b to come: the tiles that use one panel in turn bring in the next.
template <class T, class E, int kMr, int kPanels, int kGates, int kSplit, int kUnits>
__attribute__((noinline)) void step_tile(const Start<T>& start, const Segment<E>* input,
                                         int segments, const Segment<E>& recurrent, int64_t slice,
                                         T* tile) {
  constexpr int kL = kLanes<T>;
  constexpr int kSets = (kGates + kSplit) * kUnits, kAll = kPanels * kSets;
  Vec<T> acc[kMr][kAll];
#pragma GCC unroll 32
  for (int m = 0; m < kMr; ++m) {
#pragma GCC unroll 32
    for (int n = 0; n < kAll; ++n) acc[m][n] = load(start.data + m * start.row_stride + n * kL);
  }
  const auto ahead_in = [&](const Segment<E>& segment) {
    constexpr int64_t kPanelBytes = int64_t(kGates) * kUnits * NORMRNN_VECTOR_BYTES;
    const char* at = reinterpret_cast<const char*>(segment.b);
    if (slice * 64 >= kPanelBytes) return Ahead{at, 0};
    return Ahead{at + segment.k * (kPanels * kPanelBytes + slice * 64), 64};
  };
  for (int s = 0; s < segments; ++s) {
    accumulate<T, E, kMr, kPanels, kSets, 0, kGates * kUnits, false>(
        acc, input[s].a, input[s].ld, input[s].b, input[s].k, ahead_in(input[s]));
  }
  accumulate<T, E, kMr, kPanels, kSets, kSplit * kUnits, kGates * kUnits, false>(
      acc, recurrent.a, recurrent.ld, recurrent.b, recurrent.k, ahead_in(recurrent));
#pragma GCC unroll 32
  for (int n = 0; n < kAll; ++n) {
#pragma GCC unroll 32
    for (int m = 0; m < kMr; ++m) {
      store(tile + ((n / kSets * kMr + m) * kSets + n % kSets) * kL, acc[m][n]);
    }
  }
}

template <class T, class E, int kMr, int kPanels, int kGates, int kSplit, int kUnits>
NORMRNN_INLINE void step_tile_across(int64_t panels, const Start<T>& start, const Segment<E>* input,
                                     int segments, const Segment<E>& recurrent, int64_t slice,
                                     T* tile) {
  if constexpr (kPanels > 1) {
    if (panels < kPanels) {
      return step_tile_across<T, E, kMr, kPanels / 2, kGates, kSplit, kUnits>(
          panels, start, input, segments, recurrent, slice, tile);
    }
  }
  step_tile<T, E, kMr, kPanels, kGates, kSplit, kUnits>(start, input, segments, recurrent, slice,
                                                        tile);
}

// Picks the tile of the shape asked for: 1 <= rows <= kMr; panels as panels_at_once gives them.
template <class T, class E, int kMr, int kGates, int kSplit, int kUnits>
NORMRNN_INLINE void step_tile_of(int64_t rows, int64_t panels, const Start<T>& start,
                                 const Segment<E>* input, int segments, const Segment<E>& recurrent,
                                 int64_t slice, T* tile) {
  if constexpr (kMr > 1) {
    if (rows < kMr) {
      return step_tile_of<T, E, kMr - 1, kGates, kSplit, kUnits>(rows, panels, start, input,
                                                                 segments, recurrent, slice, tile);
    }
  }
  step_tile_across<T, E, kMr, tile_panels(kMr, (kGates + kSplit) * kUnits), kGates, kSplit, kUnits>(
      panels, start, input, segments, recurrent, slice, tile);
}

// How many of the `left` panels the next tile takes, when tiles of `height` rows cover `rows` rows:
// several where one tile does, a power of two.
NORMRNN_INLINE int64_t panels_at_once(int64_t rows, int64_t height, int sets, int64_t left) {
  if (rows != height) return 1;
  int64_t panels = tile_panels(int(height), sets);
  while (panels > left) panels /= 2;
  return panels;
}

}  // namespace normrnn::NORMRNN_TARGET
