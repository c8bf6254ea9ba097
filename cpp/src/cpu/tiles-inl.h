// The walk of tiles over the rows and panels of a product.
#pragma once

#include "cpu/tile.h"
#if defined(NORMRNN_AMX)
#include "cpu/amx-inl.h"
#endif

namespace normrnn::NORMRNN_TARGET {

struct Range {
  int64_t begin, end;
};

// Tiles of at most `most` rows that cover `rows` rows evenly, the higher ones first: 16 rows with at
// most 6 a tile are 6 + 5 + 5.
struct Heights {
  NORMRNN_INLINE Heights(int64_t rows, int64_t most)
      : tiles((rows + most - 1) / most),
        low(tiles ? rows / tiles : 0),
        higher(tiles ? rows % tiles : 0) {}
  NORMRNN_INLINE int64_t of(int64_t tile) const { return low + (tile < higher); }
  NORMRNN_INLINE int64_t most() const { return of(0); }

  int64_t tiles, low, higher;  // how many, rows of the lower ones, how many are one row higher
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
    if (rows.begin >= rows.end) return true;
    const Heights heights(rows.end - rows.begin, Tile::kRows);
    const bool pieces = terms > kManyTerms<E> && Tile::most_panels(heights.most()) == 1;
    return pieces ? in_pieces(heights, operands, start, done)
                  : at_once(heights, operands, start, done);
  }

 private:
  // How many of the `left` panels the next tile takes: several where one tile covers all rows, a
  // power of two.
  NORMRNN_INLINE int64_t panels_at_once(const Heights& heights, int64_t left) const {
    if (heights.tiles > 1) return 1;
    int64_t count = Tile::most_panels(heights.most());
    while (count > left) count /= 2;
    return count;
  }

  template <class Operands, class StartAt, class Done>
  NORMRNN_INLINE bool at_once(const Heights& heights, const Operands& operands,
                              const StartAt& start, const Done& done) const {
    alignas(64) T sums[Tile::kVectors * kLanes<T>];
    Tile tile;
    for (int64_t p = panels.begin, count; p < panels.end; p += count) {
      count = panels_at_once(heights, panels.end - p);
      for (int64_t t = 0, r = rows.begin, high; t < heights.tiles; ++t, r += high) {
        high = heights.of(t);
        Segment<E> at[kMaxSegments + 1];
        operands(r, p, at);
        tile.multiply(high, count, start(r, high, p, count), at, segments - 1, at[segments - 1],
                      {t, heights.tiles}, sums);
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
  NORMRNN_INLINE bool in_pieces(const Heights& heights, const Operands& operands,
                                const StartAt& start, const Done& done) const {
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
    const int64_t most = max_of(1, kWaitingSums<T> / (heights.most() * kWidth));
    int64_t from = rows.begin, to = from;
    for (int64_t tile_begin = 0, tile_end; tile_begin < heights.tiles;
         tile_begin = tile_end, from = to) {
      tile_end = min_of(heights.tiles, tile_begin + most);
      for (int64_t t = tile_begin; t < tile_end; ++t) to += heights.of(t);
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
            for (int64_t t = tile_begin, r = from, high; t < tile_end; ++t, r += high) {
              high = heights.of(t);
              Segment<E> one = operand(r, p, piece);
              one.next = to_come;
              T* own = waiting + ((p - begin) * (to - from) + r - from) * kWidth;
              const bool recurrent = piece.segment == segments - 1;
              tile.multiply(high, 1, begins ? start(r, high, p, 1) : Start<T>{own, kWidth}, &one,
                            recurrent ? 0 : 1, recurrent ? one : Segment<E>{},
                            {t - tile_begin, tile_end - tile_begin}, ends ? sums : own);
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
