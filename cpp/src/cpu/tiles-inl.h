// The walk of tiles over the rows and panels of a product.
#pragma once

#include "cpu/tile.h"
#if defined(NORMRNN_AMX)
#include "cpu/amx-inl.h"
#endif

namespace normrnn::NORMRNN_TARGET {

// Height of the tiles that cover `rows` rows evenly: 16 rows with at most 12 a tile are 8 + 8.
NORMRNN_INLINE int64_t even_height(int64_t rows, int64_t most) {
  const int64_t tiles = (rows + most - 1) / most;
  return tiles ? (rows + tiles - 1) / tiles : 1;
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

template <class E>
constexpr int64_t kManyTerms = 3 * kPiece<E>;
template <class T>
constexpr int64_t kWaitingSums = 32768 / int64_t(sizeof(T));

// The tiles over rows and panels of a product with several segments, the recurrent one the last.
// operands(r, p, segments) sets them at row r and panel p. Of each tile, start(r, rows, p, panels)
// tells where its sums begin, before anything else, and done(tile, r, rows, p, panels) takes it; if
// it returns false, that is the end.
template <class T, class E, int kGates, int kSplit, int kUnits>
struct Tiles {
  using Tile = typename TileFor<T, E, kGates, kSplit, kUnits>::Type;
  static constexpr int kWidth = (kGates + kSplit) * kUnits * kLanes<T>;

  Range rows, panels;
  int segments;

  // terms: of all segments.
  template <class Operands, class StartAt, class Done>
  NORMRNN_INLINE bool run(int64_t terms, const Operands& operands, const StartAt& start,
                          const Done& done) const {
    const int64_t height = even_height(rows.end - rows.begin, Tile::kRows);
    const bool pieces = terms > kManyTerms<E> && Tile::most_panels(height) == 1;
    return pieces ? in_pieces(height, operands, start, done)
                  : at_once(height, operands, start, done);
  }

 private:
  // How many of the `left` panels the next tile takes, when tiles of `height` rows cover all rows:
  // several where one tile does, a power of two.
  NORMRNN_INLINE int64_t panels_at_once(int64_t height, int64_t left) const {
    if (rows.end - rows.begin != height) return 1;
    int64_t count = Tile::most_panels(height);
    while (count > left) count /= 2;
    return count;
  }

  template <class Operands, class StartAt, class Done>
  NORMRNN_INLINE bool at_once(int64_t height, const Operands& operands, const StartAt& start,
                              const Done& done) const {
    alignas(64) T sums[Tile::kVectors * kLanes<T>];
    Tile tile;
    const int64_t tiles = (rows.end - rows.begin + height - 1) / height;
    for (int64_t p = panels.begin, count; p < panels.end; p += count) {
      count = panels_at_once(height, panels.end - p);
      for (int64_t r = rows.begin; r < rows.end; r += height) {
        const int64_t high = min_of(height, rows.end - r);
        Segment<E> at[kMaxSegments + 1];
        operands(r, p, at);
        tile.multiply(high, count, start(r, high, p, count), at, segments - 1, at[segments - 1],
                      {(r - rows.begin) / height, tiles}, sums);
        if (!done(sums, r, high, p, count)) return false;
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
    alignas(64) T waiting[kWaitingSums<T>], sums[Tile::kVectors * kLanes<T>];
    Tile tile;
    Segment<E> at[kMaxSegments + 1];
    operands(rows.begin, panels.begin, at);
    const Piece first = after({0, -kPiece<E>}, at);
    const auto operand = [&](int64_t r, int64_t p, const Piece& piece) {
      operands(r, p, at);
      Segment<E> one = at[piece.segment];
      one.a += piece.k;
      one.b += piece.k * kGates * kUnits * kLanes<E>;
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
              T* own = waiting + ((p - begin) * (to - from) + r - from) * kWidth;
              const bool recurrent = piece.segment == segments - 1;
              tile.multiply(high, 1, begins ? start(r, high, p, 1) : Start<T>{own, kWidth}, &one,
                            recurrent ? 0 : 1, recurrent ? one : Segment<E>{},
                            {(r - from) / height, tiles}, ends ? sums : own);
              if (ends && !done(sums, r, high, p, 1)) return false;
            }
          }
        }
      }
    }
    return true;
  }
};

}  // namespace normrnn::NORMRNN_TARGET
