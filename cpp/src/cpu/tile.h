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

// Height of the tiles that cover `rows` rows evenly: 16 rows with at most 12 a tile are 8 + 8.
NORMRNN_INLINE int64_t even_height(int64_t rows, int64_t most) {
  const int64_t tiles = (rows + most - 1) / most;
  return tiles ? (rows + tiles - 1) / tiles : 1;
}

// Memory to ask for while a product runs: each step of k fetches the lines at `at` and `more` bytes
// behind it, and goes on by `step` bytes. Anything may be fetched, an address that does not exist
// too.
struct Ahead {
  const char* at;
  int64_t step, more;
};

// The tiles that use one panel of b in turn, `tiles` of them, bring in the next, a slice each.
struct Slice {
  int64_t index, tiles;
};

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

// tile[j][m][:] = start + all segments of input (onto sets [0, kGates)) and one recurrent segment
// (onto sets [kSplit, kGates + kSplit)), each set kUnits vectors wide, for panels j. Plain products
// have neither split nor input segments. The tile fetches ahead its slice of the panel of b to come.
template <class T, class E, int kMr, int kPanels, int kGates, int kSplit, int kUnits>
__attribute__((noinline)) void step_tile(const Start<T>& start, const Segment<E>* input,
                                         int segments, const Segment<E>& recurrent, Slice slice,
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
    constexpr int64_t kPanelWidth = int64_t(kGates) * kUnits * kLanes<E>;
    constexpr int64_t kPanelBytes = kPanelWidth * int64_t(sizeof(E));
    const E* next = segment.next ? segment.next : segment.b + segment.k * kPanels * kPanelWidth;
    const char* at = reinterpret_cast<const char*>(next);
    constexpr int64_t kLines = kPanelBytes / 64;
    if (slice.index >= kLines) return Ahead{at, 0, 0};
    const bool two = slice.index + slice.tiles < kLines;
    return Ahead{at + segment.k * slice.index * 64, 64, two ? segment.k * slice.tiles * 64 : 0};
  };
  constexpr int kCount = kGates * kUnits;
  for (int s = 0; s < segments; ++s) {
    const Segment<E>& one = input[s];
    accumulate<T, E, kMr, kPanels, kSets, 0, kCount, false>(
        acc, one.a, one.ld, one.b, one.k * kCount * kLanes<E>, one.k, ahead_in(one));
  }
  accumulate<T, E, kMr, kPanels, kSets, kSplit * kUnits, kCount, false>(
      acc, recurrent.a, recurrent.ld, recurrent.b, recurrent.k * kCount * kLanes<E>, recurrent.k,
      ahead_in(recurrent));
#pragma GCC unroll 32
  for (int n = 0; n < kAll; ++n) {
#pragma GCC unroll 32
    for (int m = 0; m < kMr; ++m) {
      store(tile + ((n / kSets * kMr + m) * kSets + n % kSets) * kL, acc[m][n]);
    }
  }
}

// The same gate by gate: panels have the gates one behind the other, each as [k, kUnits vectors].
template <class T, class E, int kMr, int kPanels, int kGates, int kSplit, int kUnits>
__attribute__((noinline)) void step_tile_apart(const Start<T>& start, const Segment<E>* input,
                                               int segments, const Segment<E>& recurrent,
                                               Slice slice, T* tile) {
  constexpr int kL = kLanes<T>;
  constexpr int kSets = (kGates + kSplit) * kUnits;
  constexpr int64_t kWidth = int64_t(kUnits) * kLanes<E>;
  for (int set = 0; set < kSets; set += kUnits) {
    Vec<T> acc[kMr][kPanels * kUnits];
    const auto multiply = [&](const Segment<E>& one, int gate) __attribute__((always_inline)) {
      const int64_t whole = one.whole ? one.whole : one.k, panel = kGates * whole * kWidth;
      const E* next = one.next ? one.next : one.b + kPanels * panel;
      const int64_t fetched = gate * slice.tiles + slice.index;  // a gate of the panel to come
      const Ahead ahead{reinterpret_cast<const char*>(next + fetched * whole * kWidth),
                        kWidth * int64_t(sizeof(E)), 0};
      accumulate<T, E, kMr, kPanels, kUnits, 0, kUnits, false>(
          acc, one.a, one.ld, one.b + gate * whole * kWidth, panel, one.k,
          fetched < kGates ? ahead : Ahead{ahead.at, 0, 0});
    };
#pragma GCC unroll 32
    for (int m = 0; m < kMr; ++m) {
#pragma GCC unroll 32
      for (int n = 0; n < kPanels * kUnits; ++n) {
        const int at = n / kUnits * kSets + set + n % kUnits;
        acc[m][n] = load(start.data + m * start.row_stride + at * kL);
      }
    }
    const int gate = set / kUnits;
    for (int s = 0; gate < kGates && s < segments; ++s) multiply(input[s], gate);
    if (gate >= kSplit) multiply(recurrent, gate - kSplit);
#pragma GCC unroll 32
    for (int n = 0; n < kPanels * kUnits; ++n) {
#pragma GCC unroll 32
      for (int m = 0; m < kMr; ++m) {
        const int at = (n / kUnits * kMr + m) * kSets + set + n % kUnits;
        store(tile + at * kL, acc[m][n]);
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
  if constexpr (gates_apart(kGates + kSplit)) {
    step_tile_apart<T, E, kMr, kPanels, kGates, kSplit, kUnits>(start, input, segments, recurrent,
                                                                slice, tile);
  } else {
    step_tile<T, E, kMr, kPanels, kGates, kSplit, kUnits>(start, input, segments, recurrent, slice,
                                                          tile);
  }
}

// Picks the tile of the shape asked for: 1 <= rows <= kMr; panels as panels_at_once gives them.
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

// How many of the `left` panels the next tile takes, when tiles of `height` rows cover `rows` rows:
// several where one tile does, a power of two.
NORMRNN_INLINE int64_t panels_at_once(int64_t rows, int64_t height, int sets, int64_t left) {
  if (rows != height) return 1;
  int64_t panels = tile_panels(int(height), sets);
  while (panels > left) panels /= 2;
  return panels;
}

struct Range {
  int64_t begin, end;
};

template <class E>
NORMRNN_INLINE int64_t terms_of(const Segment<E>* segment, int count) {
  int64_t terms = 0;
  for (int s = 0; s < count; ++s) terms += segment[s].k;
  return terms;
}

// Segments at row r and panel p of `width` columns.
template <class E>
NORMRNN_INLINE void place_segments(const Segment<E>* segment, int count, int64_t r, int64_t p,
                                   int64_t width, Segment<E>* at) {
  for (int s = 0; s < count; ++s) {
    at[s] = segment[s];
    at[s].a += r * at[s].ld;
    at[s].b += p * at[s].k * width;
  }
}

// Many terms are taken in pieces: what tiles read of a piece, their rows of a and a panel of b, stays
// in the caches while it is used.
template <class E>
constexpr int64_t kPiece = 2048 / int64_t(sizeof(E));
template <class E>
constexpr int64_t kManyTerms = 3 * kPiece<E>;
template <class T>
constexpr int64_t kWaitingSums = 32768 / int64_t(sizeof(T));

// The tiles over rows and panels of a product with several segments, the recurrent one the last.
// operands(r, p, segments) sets them at row r and panel p. Of each tile, start(r, rows, p, panels)
// tells where its sums begin, before anything else, and done(tile, r, rows, p, panels) takes it; if
// it returns false, that is the end.
template <class T, class E, int kMr, int kGates, int kSplit, int kUnits>
struct Tiles {
  static constexpr int kSets = (kGates + kSplit) * kUnits, kWidth = kSets * kLanes<T>;
  static constexpr int kAtOnce = sets_at_once(kGates + kSplit, kUnits);
  static constexpr int kTile = tile_vectors(kGates + kSplit, kUnits) * kLanes<T>;

  Range rows, panels;
  int segments;

  // terms: of all segments.
  template <class Operands, class StartAt, class Done>
  NORMRNN_INLINE bool run(int64_t terms, const Operands& operands, const StartAt& start,
                          const Done& done) const {
    const int64_t height = even_height(rows.end - rows.begin, kMr);
    const bool pieces = terms > kManyTerms<E> && tile_panels(int(height), kAtOnce) == 1;
    return pieces ? in_pieces(height, operands, start, done)
                  : at_once(height, operands, start, done);
  }

 private:
  template <class Operands, class StartAt, class Done>
  NORMRNN_INLINE bool at_once(int64_t height, const Operands& operands, const StartAt& start,
                              const Done& done) const {
    alignas(64) T tile[kTile];
    const int64_t tiles = (rows.end - rows.begin + height - 1) / height;
    for (int64_t p = panels.begin, count; p < panels.end; p += count) {
      count = panels_at_once(rows.end - rows.begin, height, kAtOnce, panels.end - p);
      for (int64_t r = rows.begin; r < rows.end; r += height) {
        const int64_t high = min_of(height, rows.end - r);
        Segment<E> at[kMaxSegments + 1];
        operands(r, p, at);
        step_tile_of<T, E, kMr, kGates, kSplit, kUnits>(high, count, start(r, high, p, count), at,
                                                        segments - 1, at[segments - 1],
                                                        {(r - rows.begin) / height, tiles}, tile);
        if (!done(tile, r, high, p, count)) return false;
      }
    }
    return true;
  }

  struct Piece {
    int segment;
    int64_t k;
  };

  NORMRNN_INLINE Piece after(Piece piece, const Segment<E>* at) const {
    piece.k += kPiece<E>;
    while (piece.segment < segments && piece.k >= at[piece.segment].k) {
      piece = {piece.segment + 1, 0};
    }
    return piece;
  }

  // A group of panels goes through all pieces before the next one does; its sums wait in the cache
  // meanwhile. Their order is what it would be at once.
  template <class Operands, class StartAt, class Done>
  NORMRNN_INLINE bool in_pieces(int64_t height, const Operands& operands, const StartAt& start,
                                const Done& done) const {
    alignas(64) T sums[kWaitingSums<T>];
    alignas(64) T tile[kTile];
    Segment<E> at[kMaxSegments + 1];
    operands(rows.begin, panels.begin, at);
    const Piece first = after({0, -kPiece<E>}, at);
    const auto operand = [&](int64_t r, int64_t p, const Piece& piece) {
      operands(r, p, at);
      Segment<E> one = at[piece.segment];
      one.whole = one.k;
      one.a += piece.k;
      one.b += piece.k * (gates_apart(kGates + kSplit) ? 1 : kGates) * kUnits * kLanes<T>;
      one.k = min_of(kPiece<E>, one.k - piece.k);
      return one;
    };
    const int64_t most = max_of(1, kWaitingSums<T> / (height * kWidth)) * height;
    for (int64_t from = rows.begin, to; from < rows.end; from = to) {
      to = min_of(rows.end, from + most);
      const int64_t tiles = (to - from + height - 1) / height;
      const int64_t group = max_of(1, kWaitingSums<T> / ((to - from) * kWidth));
      for (int64_t begin = panels.begin, end; begin < panels.end; begin = end) {
        end = min_of(panels.end, begin + group);
        for (Piece piece = first, next; piece.segment < segments; piece = next) {
          next = after(piece, at);
          const bool begins = piece.segment == first.segment && piece.k == 0;
          const bool ends = next.segment == segments;
          for (int64_t p = begin; p < end; ++p) {
            const E* to_come = p + 1 < end ? operand(from, p + 1, piece).b
                               : ends      ? operand(from, end, first).b
                                           : operand(from, begin, next).b;
            for (int64_t r = from; r < to; r += height) {
              const int64_t high = min_of(height, to - r);
              Segment<E> one = operand(r, p, piece);
              one.next = to_come;
              T* own = sums + ((p - begin) * (to - from) + r - from) * kWidth;
              const bool recurrent = piece.segment == segments - 1;
              step_tile_of<T, E, kMr, kGates, kSplit, kUnits>(
                  high, 1, begins ? start(r, high, p, 1) : Start<T>{own, kWidth}, &one,
                  recurrent ? 0 : 1, recurrent ? one : Segment<E>{}, {(r - from) / height, tiles},
                  ends ? tile : own);
              if (ends && !done(tile, r, high, p, 1)) return false;
            }
          }
        }
      }
    }
    return true;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
