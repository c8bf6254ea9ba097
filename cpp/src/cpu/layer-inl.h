// What the time loops forwards and backwards share: how gates lie in a tile, the order of the
// steps, and each worker's share.
//
// A step is a product of tiles with the cell as its epilogue. Rows (sequences) are sorted longest
// first, so a step works on the first rows_at(t) of them and padding costs nothing. Workers split
// either the batch, and never wait for each other, or the hidden units, with a barrier each step.
#pragma once

#include "cpu/mask-inl.h"
#include "cpu/pack-inl.h"

namespace normrnn::NORMRNN_TARGET {

// How a cell's gates lie in a tile: kAll groups of kUnits vectors.
template <class Cell>
struct Layout {
  static constexpr int kAll = Cell::kGates + Cell::kSplit;
  static constexpr int kUnits = kAll == 1 || gates_apart(kAll) ? 2 : 1;  // vectors of hidden units
  static constexpr int kRows = tile_rows(sets_at_once(kAll, kUnits));
  template <class T>
  static constexpr int kPanel = kUnits * kLanes<T>;  // hidden units in a panel
  template <class T>
  static constexpr int kWidth = kAll * kPanel<T>;
};

// Steps in the order of the recursion: time t, its packed rows and how many.
struct Clock {
  const int64_t* offset;
  int64_t times;
  bool reverse;
  int64_t time(int64_t step) const { return reverse ? times - 1 - step : step; }
  int64_t begin(int64_t step) const { return offset[time(step)]; }
  int64_t rows(int64_t step) const {
    if (step < 0 || step >= times) return 0;
    return offset[time(step) + 1] - offset[time(step)];
  }
};

// A worker's share of rows and panels.
struct Share {
  Range rows, panels;
};

NORMRNN_INLINE Share share_of(const Worker& worker, const cpu::Shares& shares, int64_t batch,
                              int64_t panels) {
  const Range rows{0, batch}, all{0, panels};
  if (worker.size() == 1) return {rows, all};  // also where the pool was busy
  const Range own{shares.begin[worker.rank()], shares.begin[worker.rank() + 1]};
  return shares.of_rows ? Share{own, all} : Share{rows, own};
}

// Whether workers have some units of all rows each, and need what the others made of these.
NORMRNN_INLINE bool splits_units(const Worker& worker, const cpu::Shares& shares) {
  return worker.size() > 1 && !shares.of_rows;
}

NORMRNN_INLINE Range overlap(Range a, Range b) {
  return {max_of(a.begin, b.begin), min_of(a.end, b.end)};
}

// Weights for the forward pass: panel by panel, for each k the gates in tile order, or, where each
// gate has a tile of its own, one behind the other in each piece of k.
template <class Cell, class T, class E, bool kRecurrent>
void pack_gates(const T* w, int64_t ld, int64_t k, int64_t hidden, int64_t begin, int64_t end,
                E* packed) {
  using L = Layout<Cell>;
  constexpr int kPanel = L::template kPanel<T>, kWidth = Cell::kGates * kPanel;
  constexpr bool kApart = gates_apart(L::kAll);
  const int64_t most = kApart ? kPiece<E> * cpu::kNumbersIn<E> : k;
  const int64_t depth = cpu::operands_of<E>(k);
  for (int64_t p = begin; p < end; ++p) {
    for (int64_t i = 0; i < k; i += most) {
      const int64_t count = min_of(most, k - i), terms = cpu::operands_of<E>(count);
      E* piece = packed + (p * depth + i / cpu::kNumbersIn<E>)*kWidth;
      for (int g = 0; g < Cell::kGates; ++g) {
        const int place = kRecurrent ? g : place_of_input<Cell>(g);
        for (int u = 0; u < kPanel; u += kLanes<T>) {
          const int64_t unit = p * kPanel + u;
          pack_vector(w + (g * hidden + unit) * ld + i, ld, hidden - unit, count,
                      piece + place * (kApart ? terms : 1) * kPanel + u, kApart ? kPanel : kWidth);
        }
      }
    }
  }
}

// Where a tile starts from: the biases, those of split gates apart. Null biases count as 0.
template <class Cell, class T>
void pack_bias(const T* bias_ih, const T* bias_hh, int64_t hidden, T* packed) {
  using L = Layout<Cell>;
  constexpr int kPanel = L::template kPanel<T>;
  for (int64_t unit = 0; unit < (hidden + kPanel - 1) / kPanel * kPanel; ++unit) {
    T* out = packed + unit / kPanel * L::template kWidth<T> + unit % kPanel;
    for (int j = 0; j < L::kAll; ++j) out[j * kPanel] = T(0);
    if (unit >= hidden) continue;
    for (int g = 0; g < Cell::kGates; ++g) {
      if (bias_ih) out[place_of_input<Cell>(g) * kPanel] += bias_ih[g * hidden + unit];
      if (bias_hh) out[place_of_recurrent<Cell>(g) * kPanel] += bias_hh[g * hidden + unit];
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
