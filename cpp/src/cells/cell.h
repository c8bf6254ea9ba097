// The contract of a cell: compile-time facts and two pointwise functions, nothing else.
//
//   struct MyCell {
//     static constexpr int kGates = 3;   // G: row blocks of weight_ih and weight_hh, each [G*H, .]
//     static constexpr int kSplit = 1;   // the last kSplit gates see U x and W h apart, not summed
//     static constexpr int kStates = 1;  // states[0] is h, which the GEMM and the output read
//     static constexpr int kTape = 4;    // values kept for the backward pass, besides the states
//     static constexpr bool kCandidate = true;  // has a candidate that can be dropped
//     template <class V, class Drop>
//     NORMRNN_FN static void forward(const V* pre, const V* rec, const V* prev, V* next, V* tape,
//                                    Drop drop);
//     template <class V, class Drop>
//     NORMRNN_FN static void backward(const V* tape, const V* prev, const V* next,
//                                     V* d_state, V* d_pre, V* d_rec, Drop drop);
//   };
//
// V is the value of one hidden unit, or a vector of them (maths.h); devices call the functions,
// too. All arrays are indexed by gate or state:
//   pre     [kGates]   gates before the split: (U x + b_ih) + (W h + b_hh); split gates: U x + b_ih
//   rec     [kSplit]   W h + b_hh of the split gates
//   prev    [kStates]  states before the step;  next [kStates] after it
//   tape    [kTape]    written by forward, read by backward; begins with the kGates activated
//                      gates, which diagnostics show, unless the cell keeps none (one gate: h
//                      itself)
//   d_state [kStates]  in: dL/d next; out: the direct part of dL/d prev, without the path through W
//   d_pre   [kGates]   out: dL/d pre;  d_rec [kSplit] out: dL/d rec
//   drop(v) v, or v as dropout of the candidate leaves it: linear, and the same forwards and
//           backwards. With Drop::kMasked, false in a plain pass, zoneout may have put another
//           value into next[s] than forward did; d_state[s] is 0 there.
//
// A cell may say one more thing, which gives it another time loop:
//   using Plain = Gru;                 // U x and W h are normalised before it sees them; the
//                                      // weights are those of Plain (cells/layer_norm.h)
//   static constexpr bool kDiagonal = true;  // weight_hh is a vector [H] (cells/indrnn.h)
//
// The time loop, the matrix products and the storage belong to the backends (cpu/forward-inl.h,
// cuda/forward.h).
#pragma once

#include "maths.h"

namespace normrnn::NORMRNN_TARGET {

template <class Cell>
constexpr bool kHasLayerNorm = requires { typename Cell::Plain; };
template <class Cell>
constexpr bool kIsDiagonal = requires { Cell::kDiagonal; };

// The cell whose weights and whose products U x and W h a cell has: with layer norm the plain one.
template <class Cell, bool kNorm>
struct ProductsOf {
  using Type = Cell;
};
template <class Cell>
struct ProductsOf<Cell, true> {
  using Type = typename Cell::Plain;
};
template <class Cell>
using Products = typename ProductsOf<Cell, kHasLayerNorm<Cell>>::Type;

// Whether the cell state is normalised, too, and is given to the cell as one more gate.
template <class Cell>
constexpr bool kNormsState = (Cell::kGates > Products<Cell>::kGates);

// Where a gate stands among all products of a row, and in dL/dgates: split gates' U x parts, shared
// gates, split gates' W h parts. U's gates are then the first kGates places and W's the last
// kGates, each without a gap.
template <class Cell>
NORMRNN_FN constexpr int place_of_input(int gate) {
  constexpr int kShared = Cell::kGates - Cell::kSplit;
  return gate < kShared ? Cell::kSplit + gate : gate - kShared;
}
template <class Cell>
NORMRNN_FN constexpr int place_of_recurrent(int gate) {
  return Cell::kSplit + gate;
}

}  // namespace normrnn::NORMRNN_TARGET
