// Tiles in vector registers: the one inner loop that all matrix products of this target share.
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

// Where registers are few, a tile of all gates would have so few rows that reading weights sets its
// pace: each gate has a tile of its own, one after the other, and two vectors of units.
constexpr bool gates_apart(int gates) { return NORMRNN_ACCUMULATORS < 16 && gates > 1; }

// Vectors across a panel that are multiplied together, of `gates` with `units` vectors each.
constexpr int sets_at_once(int gates, int units) {
  return gates_apart(gates) ? units : gates * units;
}

// Vectors of a tile at most, one row of many panels or many rows of one.
constexpr int tile_vectors(int gates, int units) {
  return NORMRNN_ACCUMULATORS / sets_at_once(gates, units) * gates * units;
}

// Panels side by side in a tile of few rows: without them too few chains of additions would run at
// a time to hide the latency of one.
constexpr int tile_panels(int rows, int sets) {
  int panels = 1;
  while (panels < 8 && 2 * panels * rows * sets <= NORMRNN_ACCUMULATORS) panels *= 2;
  return panels;
}

// Memory to ask for while a product runs: each step of k fetches the lines at `at` and `more` bytes
// behind it, and goes on by `step` bytes. Anything may be fetched, an address that does not exist
// too.
struct Ahead {
  const char* at;
  int64_t step, more;
};

// The tiles that use one panel of b in turn, `tiles` of them, bring in the next, a slice each, all at
// one pace.
struct Slice {
  int64_t index, tiles;
};

// What a tile with segments of panels `width` wide fetches while it goes through one of them: its
// slice of what comes behind the `panels` that it is at, one line or two at each step of k.
template <class E>
NORMRNN_INLINE Ahead ahead_of(const Segment<E>& segment, int64_t panels, int64_t width,
                              Slice slice) {
  const E* next = segment.next ? segment.next : segment.b + panels * segment.k * width;
  const char* at = reinterpret_cast<const char*>(next);
  const int64_t bytes = width * int64_t(sizeof(E));  // for each k
  const int64_t in_turn = min_of(bytes, 64 * slice.tiles);
  const int64_t step = uint32_t(in_turn + slice.tiles - 1) / uint32_t(slice.tiles);
  const int64_t begin = slice.index * step;
  if (begin >= in_turn) return {at, 0, 0};
  const bool two = (slice.index + slice.tiles) * 64 < bytes;
  return {at + segment.k * begin, step, two ? segment.k * slice.tiles * 64 : 0};
}

// acc[m][j * kSets + kFirst + n] += sum over k of a(m, k) b(j, k, n), n in [0, kCount), j a panel.
// a(m, k) is a[m * ld + k], or a[k * ld + m] when kColumnMajor; a panel of b begins `panel` behind the
// one before. E is T, or pairs of bfloat16.
template <class T, class E, int kMr, int kPanels, int kSets, int kFirst, int kCount,
          bool kColumnMajor>
NORMRNN_INLINE void accumulate(Vec<T> (&acc)[kMr][kPanels * kSets], const E* a, int64_t ld,
                               const E* b, int64_t panel, int64_t k_count, Ahead ahead) {
  constexpr int kL = kLanes<T>;
  constexpr int kColumns = kPanels * kCount;
  const auto column_at = [&](int n) { return load(b + n / kCount * panel + n % kCount * kL); };
  const auto place = [](int n) { return n / kCount * kSets + kFirst + n % kCount; };
  // A pointer for every four rows: one for each row would not fit in the registers.
  constexpr int kFours = (kMr + 3) / 4;
  const E* four[kFours];
#pragma GCC unroll 8
  for (int i = 0; i < kFours; ++i) four[i] = kColumnMajor ? a : a + 4 * i * ld;
#pragma GCC unroll 1
  for (int64_t k = 0; k < k_count; ++k) {
    const auto a_at = [&](int m) { return splat(kColumnMajor ? a[m] : four[m / 4][m % 4 * ld]); };
    __builtin_prefetch(ahead.at, 0, 2);
    __builtin_prefetch(ahead.at + ahead.more, 0, 2);
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
    a += kColumnMajor ? ld : 0;
#pragma GCC unroll 8
    for (int i = 0; i < kFours; ++i) four[i] += 1;
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

// Many terms are taken in pieces: what tiles read of a piece, their rows of a and a panel of b, stays
// in the caches while it is used. In a panel with gates apart each piece has them one behind the
// other, [gates, k of the piece, units]; else they are side by side for each k.
template <class E>
constexpr int64_t kPiece = 2048 / int64_t(sizeof(E));

// acc's sets [kFirst, kFirst + kCount) += a segment's, kCount of the kAll that its panels have for
// each k: all, or those of `gate` where gates are apart. Meanwhile it brings in its slice of the
// panel to come.
template <int kAll, int kFirst, int kCount, class T, class E, int kMr, int kColumns, int kPanels>
NORMRNN_INLINE void add_segment(Vec<T> (&acc)[kMr][kColumns], const Segment<E>& segment, int gate,
                                Slice slice) {
  constexpr int64_t kWidth = kAll * kLanes<E>;
  Ahead ahead = ahead_of(segment, kPanels, kWidth, slice);
  const auto add = [&](int64_t k, int64_t count) __attribute__((always_inline)) {
    const E* b = segment.b + k * kWidth + gate * count * kCount * kLanes<E>;
    accumulate<T, E, kMr, kPanels, kColumns / kPanels, kFirst, kCount, false>(
        acc, segment.a + k, segment.ld, b, segment.k * kWidth, count, ahead);
    ahead.at += count * ahead.step;
  };
  int64_t k = 0;
  if constexpr (kCount < kAll) {
    for (; k + kPiece<E> < segment.k; k += kPiece<E>) add(k, kPiece<E>);
  }
  add(k, segment.k - k);
}

// tile[j][m][:] = start + all segments of input (onto gates [0, kGates)) and one recurrent segment
// (onto gates [kSplit, kGates + kSplit)), each gate kUnits vectors wide, for panels j. Plain products
// have neither split nor input segments. Gates are multiplied together, or one after the other.
template <class T, class E, int kMr, int kPanels, int kGates, int kSplit, int kUnits>
__attribute__((noinline)) void step_tile(const Start<T>& start, const Segment<E>* input,
                                         int segments, const Segment<E>& recurrent, Slice slice,
                                         T* tile) {
  constexpr bool kApart = gates_apart(kGates + kSplit);
  constexpr int kL = kLanes<T>, kSets = (kGates + kSplit) * kUnits, kAll = kGates * kUnits;
  constexpr int kPasses = kApart ? kGates + kSplit : 1, kOwn = kSets / kPasses;
  constexpr int kCount = kApart ? kUnits : kAll, kFirst = kApart ? 0 : kSplit * kUnits;
  for (int pass = 0; pass < kPasses; ++pass) {
    Vec<T> acc[kMr][kPanels * kOwn];
    const auto set_of = [&](int n) { return pass * kOwn + n % kOwn; };
#pragma GCC unroll 32
    for (int m = 0; m < kMr; ++m) {
#pragma GCC unroll 32
      for (int n = 0; n < kPanels * kOwn; ++n) {
        const int64_t at = n / kOwn * kSets + set_of(n);
        acc[m][n] = load(start.data + m * start.row_stride + at * kL);
      }
    }
    const auto slice_of = [&](int gate) {
      constexpr int64_t kParts = kApart ? kGates : 1;
      return Slice{gate * slice.tiles + slice.index, kParts * slice.tiles};
    };
    for (int s = 0; s < segments && pass < kGates; ++s) {
      add_segment<kAll, 0, kCount, T, E, kMr, kPanels * kOwn, kPanels>(acc, input[s], pass,
                                                                       slice_of(pass));
    }
    const int gate = kApart ? pass - kSplit : 0;
    if (gate >= 0) {
      add_segment<kAll, kFirst, kCount, T, E, kMr, kPanels * kOwn, kPanels>(acc, recurrent, gate,
                                                                            slice_of(gate));
    }
#pragma GCC unroll 32
    for (int n = 0; n < kPanels * kOwn; ++n) {
#pragma GCC unroll 32
      for (int m = 0; m < kMr; ++m) {
        store(tile + ((n / kOwn * kMr + m) * kSets + set_of(n)) * kL, acc[m][n]);
      }
    }
  }
}

template <class T, class E, int kMr, int kPanels, int kGates, int kSplit, int kUnits>
NORMRNN_INLINE void step_tile_across(int64_t panels, const Start<T>& start, const Segment<E>* input,
                                     int segments, const Segment<E>& recurrent, Slice slice,
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

// Picks the tile of the shape asked for: 1 <= rows <= kMr, panels a power of two.
template <class T, class E, int kMr, int kGates, int kSplit, int kUnits>
NORMRNN_INLINE void step_tile_of(int64_t rows, int64_t panels, const Start<T>& start,
                                 const Segment<E>* input, int segments, const Segment<E>& recurrent,
                                 Slice slice, T* tile) {
  if constexpr (kMr > 1) {
    if (rows < kMr) {
      return step_tile_of<T, E, kMr - 1, kGates, kSplit, kUnits>(rows, panels, start, input,
                                                                 segments, recurrent, slice, tile);
    }
  }
  step_tile_across<T, E, kMr, tile_panels(kMr, sets_at_once(kGates + kSplit, kUnits)), kGates,
                   kSplit, kUnits>(panels, start, input, segments, recurrent, slice, tile);
}

// Tiles of kGates + kSplit gates with kUnits vectors each.
template <class T, class E, int kGates, int kSplit, int kUnits>
struct VectorTile {
  static constexpr int kAtOnce = sets_at_once(kGates + kSplit, kUnits);
  static constexpr int kRows = tile_rows(kAtOnce);
  static constexpr int kVectors = tile_vectors(kGates + kSplit, kUnits);
  static constexpr int most_panels(int64_t rows) { return tile_panels(int(rows), kAtOnce); }

  NORMRNN_INLINE void multiply(int64_t rows, int64_t panels, const Start<T>& start,
                               const Segment<E>* input, int segments, const Segment<E>& recurrent,
                               Slice slice, T* tile) {
    step_tile_of<T, E, kRows, kGates, kSplit, kUnits>(rows, panels, start, input, segments,
                                                      recurrent, slice, tile);
  }
};

template <class T, class E, int kGates, int kSplit, int kUnits>
struct TileFor {
  using Type = VectorTile<T, E, kGates, kSplit, kUnits>;
};

}  // namespace normrnn::NORMRNN_TARGET
