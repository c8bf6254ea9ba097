// Back-propagation through time of a stack over any queue, from the last layer to the first.
//
// A step is one product dL/drec W and one kernel. The loop yields dL/d gates alone; every gradient
// of a weight, a bias or an input is then one large product or sum over all steps.
#pragma once

#include <cmath>

#include "cuda/gradients.h"
#include "cuda/state_penalty.h"

namespace normrnn::device {

// All public: nvcc allows device lambdas in public member functions only.
template <class Cell, class T, class Queue>
struct BackwardPass {
  using P = Products<Cell>;
  static constexpr bool kNorm = kHasLayerNorm<Cell>;
  static constexpr int kAllGates = P::kGates + P::kSplit + (kNormsState<Cell> ? 1 : 0);

  BackwardPass(Queue& queue, const Tape<T>& tape, const BackwardCall<T>& call)
      : queue_(queue),
        tape_(tape),
        call_(call),
        shape_(tape.shape),
        packed_(tape.packed.view),
        rows_(tape.packed.schedule.rows()),
        gate_columns_(P::kGates * shape_.hidden),
        gates_ld_(kAllGates * shape_.hidden),
        operand_(backward_operand(tape.precision)) {}

  void run(T* penalty) {
    const int runs = shape_.layers * shape_.directions;
    Memory<double> penalties = memory<double>(queue_, "penalty", runs);
    values_ = penalties.get();
    queue_.zero(values_, runs);
    const int64_t y_columns = shape_.directions * shape_.hidden;
    const T* dy = call_.dy;
    int64_t dy_ld = y_columns;
    const int64_t* dy_slot = packed_.slot;
    Gradients<Cell, T, Queue> gradients(queue_, tape_, call_);
    Memory<T> d_output;  // of the layer at work, from the one above
    for (int layer = shape_.layers - 1; layer >= 0; --layer) {
      Direction direction[2];
      through_time(layer, dy, dy_ld, dy_slot, direction);
      Memory<T> below;
      T* d_input = call_.dx;
      if (layer > 0 || packed_.slot || tape_.x_mask.view.bits) {
        below = memory<T>(queue_, "d input", rows_, tape_.input_of(layer));
        d_input = below.get();
      }
      for (int d = 0; d < shape_.directions; ++d) {
        gradients.run(layer, d, direction[d].op, d_input);
      }
      if (layer == 0 && d_input != call_.dx) put_dx(d_input);
      d_output = std::move(below);
      dy = d_input;
      dy_ld = y_columns;
      dy_slot = nullptr;
    }
    zero_padding(queue_, packed_, shape_.times, tape_.batch_first, shape_.input, call_.dx);
    const double* values = values_;
    queue_.each(
        "penalty", 1, 1, NORMRNN_LAMBDA(int64_t, int64_t) {
          double sum = 0;
          for (int i = 0; i < runs; ++i) sum += values[i];
          *penalty = T(sum);
        });
  }

  // What one direction needs during its layer's pass and no longer.
  struct Direction {
    BackwardOp<T> op{};
    Memory<T> d_state[kStates], d_gates, product, d_rec;
    Memory<uint16_t> operands, rec_operands, recurrent_weights;
    Memory<double> norm_parts;
    StatePenalties<T, Queue> penalties;
  };

  void through_time(int layer, const T* dy, int64_t dy_ld, const int64_t* dy_slot,
                    Direction* direction) {
    Key key;
    key.add('b').add(sizeof(T)).add(packed_);
    const Schedule& schedule = tape_.packed.schedule;
    key.add(schedule.offset.data(), packed_.offset ? schedule.offset.size() : 0);
    for (int d = 0; d < shape_.directions; ++d) {
      BackwardOp<T>& op = direction[d].op;
      op.dy = dy ? dy + d * shape_.hidden : nullptr;
      op.dy_ld = dy_ld;
      op.dy_slot = dy_slot;
      prepare(layer, d, direction[d]);
      key.add(op).add(tape_.cell);
    }
    queue_.repeatable(key, 2 * shape_.directions * packed_.times, [&](Queue& queue) {
      queue.side_by_side(shape_.directions,
                         [&](int d, Queue& own) { steps_back(own, direction[d].op); });
    });
    for (int d = 0; d < shape_.directions; ++d) finish(layer, d, direction[d]);
  }

  void prepare(int layer, int d, Direction& to) {
    const int index = layer * shape_.directions + d;
    const int64_t hidden = shape_.hidden, batch = shape_.batch;
    const LayerTape<T>& own = tape_.at(layer, d);
    BackwardOp<T>& op = to.op;
    op.hidden = hidden;
    op.batch = batch;
    op.reverse = d == 1;
    op.operand = operand_;
    const T* recurrent =
        own.weight_hh.get() ? own.weight_hh.get() : tape_.weights[size_t(index)].hh;
    if constexpr (kIsDiagonal<Cell>) {
      op.diagonal = recurrent;
    } else {
      op.recurrent =
          as_operands(queue_, operand_, recurrent, gate_columns_ * hidden, to.recurrent_weights);
      to.product = memory<T>(queue_, "recurrent product", batch, hidden);
      op.product = to.product.get();
    }
    for (int s = 0; s < Cell::kStates; ++s) {
      op.rows[s] = own.rows[s];
      op.state[s] = own.state[s].get();
      to.d_state[s] = memory<T>(queue_, "d state", batch, hidden);
      op.d_state[s] = to.d_state[s].get();
    }
    op.tape = own.gates.get();
    op.tape_ld = own.tape_ld;
    op.masks = own.masks.view;
    op.gates_ld = gates_ld_;
    to.d_gates = memory<T>(queue_, "d gates", rows_, gates_ld_);
    op.d_gates = to.d_gates.get();
    if (is_short(operand_)) {
      to.operands = memory<uint16_t>(queue_, "d gates", rows_, gates_ld_);
      op.operands = to.operands.get();
    }
    op.parts = kNorm ? 1 : tiles_of(hidden);
    to.norm_parts = memory<double>(queue_, "norms", rows_, op.parts);
    op.norm_parts = to.norm_parts.get();
    if constexpr (kNorm) prepare_norms(index, own, to);
    take_final(index, op);
    to.penalties.prepare(queue_, tape_, call_, index, op, values_ + index);
  }

  void prepare_norms(int index, const LayerTape<T>& own, Direction& to) {
    BackwardOp<T>& op = to.op;
    const Weights<T>& weights = tape_.weights[size_t(index)];
    const T* gain[kNormKinds] = {weights.gain_ih, weights.gain_hh, weights.gain_c};
    for (int kind = 0; kind < kNormKinds; ++kind) {
      const int64_t width = kind != kStateNorm ? gate_columns_ : kNormsState<Cell> ? op.hidden : 0;
      op.norms[kind] = {width, gain[kind], nullptr, own.raw[kind].get(), own.moments[kind].get()};
    }
    to.d_rec = memory<T>(queue_, "d rec", rows_, gate_columns_);
    op.d_rec = to.d_rec.get();
    if (is_short(operand_)) {
      to.rec_operands = memory<uint16_t>(queue_, "d rec", rows_, gate_columns_);
      op.rec_operands = to.rec_operands.get();
    }
  }

  void take_final(int index, const BackwardOp<T>& op) {
    const Packed packed = packed_;
    for (int s = 0; s < Cell::kStates; ++s) {
      const T* from = call_.d_final[size_t(s)];
      if (from) from += index * op.batch * op.hidden;
      queue_.each(
          "d final state", op.batch, op.hidden, NORMRNN_LAMBDA(int64_t r, int64_t u) {
            op.d_state[s][r * op.hidden + u] =
                from ? from[packed.order_of(r) * op.hidden + u] : T(0);
          });
    }
  }

  void steps_back(Queue& queue, const BackwardOp<T>& op) const {
    const Steps steps{tape_.packed.schedule, op.reverse != 0};
    for (int64_t step = packed_.times - 1; step >= -1; --step) {
      const BackRows at = back_rows(steps, step);
      if (!kIsDiagonal<Cell> && at.before > 0) multiply_back(queue, op, at);
      if (op.masks.any || op.terms.any) {
        one_step<true>(queue, op, at);
      } else {
        one_step<false>(queue, op, at);
      }
    }
  }

  // dL/drec W of the step after.
  void multiply_back(Queue& queue, const BackwardOp<T>& op, const BackRows& at) const {
    const void* a = kNorm ? static_cast<const void*>(op.d_rec) : op.d_gates;
    if (is_short(op.operand)) a = kNorm ? op.rec_operands : op.operands;
    const int64_t ld = kNorm ? gate_columns_ : op.gates_ld;
    const int64_t from = at.after * ld + (kNorm ? 0 : P::kSplit * op.hidden);
    T* to = op.terms.products ? op.terms.products + at.after * op.hidden : op.product;
    queue.multiply(Product<T>{"d rec W", at.before, op.hidden, gate_columns_,
                              operand_at<T>(a, op.operand, from), ld, false, op.recurrent,
                              op.hidden, false, to, op.hidden, false, op.operand});
  }

  template <bool kExtras>
  void one_step(Queue& queue, const BackwardOp<T>& op, const BackRows& at) const {
    const int64_t rows = max_of(at.now, at.before);
    if constexpr (kNorm) {
      queue.groups("backward step", rows, 1, NormBackwardStep<Cell, kExtras, T>{op, at});
    } else {
      queue.groups("backward step", rows, tiles_of(op.hidden),
                   BackwardStep<Cell, kExtras, T>{op, at});
    }
  }

  void finish(int layer, int d, Direction& from) {
    const int index = layer * shape_.directions + d;
    const BackwardOp<T>& op = from.op;
    from.penalties.finish(queue_, tape_, index, op, values_ + index);
    const Packed packed = packed_;
    for (int s = 0; s < Cell::kStates; ++s) {
      T* to = call_.d_initial[size_t(s)] + index * op.batch * op.hidden;
      queue_.each(
          "d initial state", op.batch, op.hidden, NORMRNN_LAMBDA(int64_t r, int64_t u) {
            to[packed.order_of(r) * op.hidden + u] = op.d_state[s][r * op.hidden + u];
          });
    }
    norms(op, op.norm_parts, call_.h_norm + index * shape_.times);
    if (call_.h_norm_clipped) {
      norms(op, op.terms.clipped_parts, call_.h_norm_clipped + index * shape_.times);
    }
  }

  // l2 norms of dL/dh_t over batch and units, [T], from the squares of rows and tiles.
  void norms(const BackwardOp<T>& op, const double* parts, T* norm) {
    const Packed packed = packed_;
    const int64_t count = op.parts;
    row_sums<1>(
        queue_, "gradient norms", shape_.times,
        NORMRNN_LAMBDA(int64_t t)->int64_t {
          return t < packed.times ? packed.rows_at(t) * count : 0;
        },
        NORMRNN_LAMBDA(int64_t t, int64_t i, double* sum) {
          sum[0] += parts[packed.begin(t) * count + i];
        },
        NORMRNN_LAMBDA(int64_t t, const double* sum) { norm[t] = T(sqrt(sum[0])); });
  }

  // dx from packed rows, as dropout of the input leaves it.
  void put_dx(const T* from) {
    const Packed packed = packed_;
    const Mask<T> mask = tape_.x_mask.view;
    const int64_t width = shape_.input;
    T* to = call_.dx;
    queue_.each(
        "d x", packed.times * packed.batch, width, NORMRNN_LAMBDA(int64_t q, int64_t c) {
          const Packed::Place at = packed.place(q);
          if (!at.exists) return;
          to[packed.slot_of(at.row) * width + c] =
              MaskRow<T>(mask, at.row, at.r)(from[at.row * width + c], c);
        });
  }

  Queue& queue_;
  const Tape<T>& tape_;
  const BackwardCall<T>& call_;
  const Shape& shape_;
  const Packed packed_;
  const int64_t rows_, gate_columns_, gates_ld_;
  const Operand operand_;
  double* values_ = nullptr;  // [L*D] of the penalties, in the making
};

template <class T, class Queue>
void backward(Queue& queue, const Tape<T>& tape, const BackwardCall<T>& call, T* penalty) {
  int cell = 0;
#define NORMRNN_CELL(name, type) \
  if (tape.cell == cell++) BackwardPass<type, T, Queue>(queue, tape, call).run(penalty);
#include "cells/cells.def"
}

}  // namespace normrnn::device
