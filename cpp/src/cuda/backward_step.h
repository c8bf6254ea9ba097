// The pointwise part of one step backwards, for any cell: dL/dh_t from the product, the direct part
// and dy_t, then state penalties and the clip, then the cell.
#pragma once

#include "cuda/forward_step.h"

namespace normrnn::device {

constexpr int kTile = 32;  // units whose squares are summed together
NORMRNN_FN constexpr int64_t tiles_of(int64_t hidden) { return (hidden + kTile - 1) / kTile; }

// What state penalties and clipping do to dL/dh_t of packed row i:
//   dL/dh_t += (l2 + row_scale[i]) h_t + l1 sign(h_t) + tar ((h_t - h_before) + (h_t - h_after)),
// the neighbours being the sequence's own steps, then a clip of every element to [-clip, clip].
template <class T>
struct StateTerms {
  T l1, l2, tar, clip;
  const T* row_scale;     // [N] or null
  double* clipped_parts;  // as norm_parts, after the clip; null: no clip
  T* products;            // [N, H] dL/drec_t W, to be kept; or null
  double* product_parts;  // their squares, as norm_parts
  int64_t any;            // false: nothing of all this
};

// One direction of one layer. Plain data: kernels get it by value.
template <class T>
struct BackwardOp {
  int64_t hidden, batch;
  int64_t reverse;
  Operand operand;
  const void* recurrent;  // weight_hh, or null where it is a vector
  const T* diagonal;      // the vector [H], or null
  StateRows rows[kStates];
  const T* state[kStates];
  const T* tape;  // [N, tape_ld]
  int64_t tape_ld;
  const T* dy;  // rows of H, dy_ld apart, or null
  int64_t dy_ld;
  const int64_t* dy_slot;
  Masks<T> masks;
  T* d_state[kStates];  // [B, H] each: in dL/d final states, out dL/d initial states
  T* d_gates;           // [N, gates_ld]
  int64_t gates_ld;
  uint16_t* operands;  // the same of 16 bits, or null
  T* product;          // [B, H] dL/drec W of one step
  double* norm_parts;  // [N, parts] squares of dL/dh_t, summed by tiles
  int64_t parts;
  StateTerms<T> terms;
  Norm<T> norms[kNormKinds];  // cells with layer norm: d_gates is dL/d what the cell takes,
  T* d_rec;                   // [N, G*H] and this dL/d W h
  uint16_t* rec_operands;     // the same of 16 bits, or null
};

// A step's place in the buffers. Rows [0, before) get something from the step after, those from
// `before` on end here; rows [now, before) began there, and leave it in d_state.
struct BackRows {
  int64_t packed, now, running;
  int64_t after, before;  // first packed row of the step after, and its rows
  int64_t earlier;        // first packed row of the step before
  int64_t earlier_rows;
};

inline BackRows back_rows(const Steps& steps, int64_t step) {
  BackRows at{};
  at.now = steps.rows(step);
  at.before = steps.rows(step + 1);
  at.earlier_rows = steps.rows(step - 1);
  at.running = at.now < at.earlier_rows ? at.now : at.earlier_rows;
  if (at.now) at.packed = steps.begin(step);
  if (at.before) at.after = steps.begin(step + 1);
  if (at.earlier_rows) at.earlier = steps.begin(step - 1);
  return at;
}

// Row of states[s] before that of a step's sequence r.
template <class T>
NORMRNN_FN int64_t previous_row(const BackwardOp<T>& op, const BackRows& at, int s, int64_t r) {
  return r < at.running ? op.rows[s].first + at.earlier + r : op.rows[s].initial + r;
}

// The state penalties' share of dL/dh_t, and the clip of the total. NaN passes.
template <class T>
NORMRNN_FN inline T with_terms(const BackwardOp<T>& op, const BackRows& at, int64_t r, int64_t unit,
                               T h, T d) {
  const StateTerms<T>& terms = op.terms;
  const int64_t i = at.packed + r;
  const T scale = terms.row_scale ? terms.l2 + terms.row_scale[i] : terms.l2;
  if (scale != 0) d += scale * h;  // not 0 h, which is NaN where h is infinite
  if (terms.l1 != 0) d += h > 0 ? terms.l1 : (h < 0 ? -terms.l1 : h);
  if (terms.tar != 0) {
    const T* states = op.state[0] + op.rows[0].first * op.hidden + unit;
    const T before = states[(r < at.earlier_rows ? at.earlier + r : i) * op.hidden];
    const T after = states[(r < at.before ? at.after + r : i) * op.hidden];
    d += terms.tar * ((h - before) + (h - after));
  }
  return d;
}

template <class T>
NORMRNN_FN inline void put_gate(const BackwardOp<T>& op, int64_t i, int64_t column, T d) {
  op.d_gates[i * op.gates_ld + column] = d;
  if (op.operands) store_operand(op.operands, op.operand, i * op.gates_ld + column, d);
}

// One unit of one row. sum: squares of dL/dh_t, of the same clipped, of the product as it goes on.
template <class Cell, bool kExtras, class T>
NORMRNN_FN inline void unit_backward(const BackwardOp<T>& op, const BackRows& at, int64_t r,
                                     int64_t unit, double* sum) {
  const int64_t i = at.packed + r, own = r * op.hidden + unit;
  T product = 0;
  if (r < at.before) {
    if constexpr (kIsDiagonal<Cell>) {
      product = op.diagonal[unit] * op.d_gates[(at.after + r) * op.gates_ld + unit];
    } else {
      const int64_t row = op.terms.products ? at.after + r : r;
      T* place = (op.terms.products ? op.terms.products : op.product) + row * op.hidden + unit;
      product = *place;
      if (kExtras && op.terms.products) {
        product = MaskRow<T>(op.masks.state, i, r)(product, unit);
        *place = product;
        sum[2] += double(product) * double(product);
      }
    }
    if (kExtras && !op.terms.products) product = MaskRow<T>(op.masks.state, i, r)(product, unit);
  }
  if (r >= at.now) {
    op.d_state[0][own] += product;
    return;
  }
  T prev[Cell::kStates], next[Cell::kStates], d_state[Cell::kStates];
  T tape[Cell::kTape + 1], d_pre[Cell::kGates], d_rec[Cell::kSplit + 1];
  for (int s = 0; s < Cell::kStates; ++s) {
    prev[s] = op.state[s][previous_row(op, at, s, r) * op.hidden + unit];
    next[s] = op.state[s][(op.rows[s].first + i) * op.hidden + unit];
    d_state[s] = op.d_state[s][own];
  }
  for (int j = 0; j < Cell::kTape; ++j) tape[j] = op.tape[i * op.tape_ld + j * op.hidden + unit];
  d_state[0] += product;
  if (op.dy) {
    T d_output = op.dy[(op.dy_slot ? op.dy_slot[i] : i) * op.dy_ld + unit];
    if constexpr (kExtras) d_output = MaskRow<T>(op.masks.output, i, r)(d_output, unit);
    d_state[0] += d_output;
  }
  if constexpr (kExtras) d_state[0] = with_terms(op, at, r, unit, next[0], d_state[0]);
  sum[0] += double(d_state[0]) * double(d_state[0]);
  if constexpr (kExtras) {
    if (op.terms.clipped_parts) {
      d_state[0] = max(-op.terms.clip, min(op.terms.clip, d_state[0]));
      sum[1] += double(d_state[0]) * double(d_state[0]);
    }
    T passed[Cell::kStates];  // by zoneout to the state before
    for (int s = 0; s < Cell::kStates; ++s) {
      passed[s] = 0;
      const MaskRow<T> row(op.masks.zoneout[s], i, r);
      if (!row.exists() || row.kept(unit)) continue;
      passed[s] = d_state[s];
      d_state[s] = 0;
      next[s] = 0;  // the state before, whose square may be infinite
    }
    const MaskRow<T> candidate(op.masks.candidate, i, r);
    Cell::backward(tape, prev, next, d_state, d_pre, d_rec, CandidateDrop<T>{candidate, unit});
    for (int s = 0; s < Cell::kStates; ++s) d_state[s] += passed[s];
  } else {
    Cell::backward(tape, prev, next, d_state, d_pre, d_rec, NoDrop{});
  }
  for (int s = 0; s < Cell::kStates; ++s) op.d_state[s][own] = d_state[s];
  for (int g = 0; g < Cell::kGates; ++g) {
    put_gate(op, i, place_of_input<Cell>(g) * op.hidden + unit, d_pre[g]);
  }
  for (int g = 0; g < Cell::kSplit; ++g) {
    put_gate(op, i, (Cell::kGates + g) * op.hidden + unit, d_rec[g]);
  }
}

// The sums of a part of a row, where they are kept.
template <class T>
NORMRNN_FN inline void keep_parts(const BackwardOp<T>& op, const BackRows& at, int64_t r,
                                  int64_t part, const double* sum) {
  if (r < at.now) {
    const int64_t i = (at.packed + r) * op.parts + part;
    op.norm_parts[i] = sum[0];
    if (op.terms.clipped_parts) op.terms.clipped_parts[i] = sum[1];
  }
  if (r < at.before && op.terms.product_parts) {
    op.terms.product_parts[(at.after + r) * op.parts + part] = sum[2];
  }
}

// A step of a cell without layer norm.
template <class Cell, bool kExtras, class T>
struct BackwardStep {
  static constexpr int kLanes = kTile, kPhases = 1, kSums = kExtras ? 3 : 1;
  using Totals = TotalsOf<BackwardStep>;
  BackwardOp<T> op;
  BackRows at;

  NORMRNN_FN Range items(int, int64_t, int64_t tile) const {
    return {tile * kTile, min_of(op.hidden, (tile + 1) * kTile)};
  }
  template <class Phase>
  NORMRNN_FN void item(Phase, int64_t r, int64_t, int64_t unit, const Totals&, double* sum) const {
    unit_backward<Cell, kExtras>(op, at, r, unit, sum);
  }
  NORMRNN_FN void finish(int64_t r, int64_t tile, const Totals& totals) const {
    if constexpr (kExtras) {
      keep_parts(op, at, r, tile, totals[0]);
    } else if (r < at.now) {
      op.norm_parts[(at.packed + r) * op.parts + tile] = totals[0][0];
    }
  }
};

}  // namespace normrnn::device
