// Forward pass of a stack over any queue: layer by layer, both directions of one side by side.
//
// U x is one product for all steps before the loop. A step is one product W h and one kernel, the
// cell with everything pointwise around it; cells whose weight_hh is a vector need no product.
#pragma once

#include <stdexcept>
#include <string>

#include "cuda/norm_step.h"
#include "normrnn/registry.h"

namespace normrnn::device {

// Weights as operands: as they are, or a copy of 16 bits.
template <class Queue, class T>
const void* as_operands(Queue& queue, Operand operand, const T* from, int64_t count,
                        Memory<uint16_t>& copy) {
  if (!is_short(operand)) return from;
  copy = memory<uint16_t>(queue, "operands", count);
  uint16_t* to = copy.get();
  queue.each(
      "operands", 1, count,
      NORMRNN_LAMBDA(int64_t, int64_t i) { store_operand(to, operand, i, from[i]); });
  return to;
}

inline Operand forward_operand(cuda::Precision precision) {
  switch (precision) {
    case cuda::Precision::kTf32:
      return Operand::kTf32;
    case cuda::Precision::kBfloat16:
      return Operand::kBfloat16;
    case cuda::Precision::kFloat16:
      return Operand::kFloat16;
    default:
      return Operand::kSame;
  }
}

// All public: nvcc allows device lambdas in public member functions only.
template <class Cell, class T, class Queue>
struct ForwardPass {
  using P = Products<Cell>;
  static constexpr bool kNorm = kHasLayerNorm<Cell>;
  static constexpr int64_t kBiases = P::kGates + P::kSplit;

  ForwardPass(Queue& queue, const ForwardCall<T>& call, Tape<T>& tape)
      : queue_(queue),
        call_(call),
        tape_(tape),
        shape_(call.shape),
        packed_(tape.packed.view),
        rows_(tape.packed.schedule.rows()),
        gate_columns_(P::kGates * shape_.hidden),
        operand_(forward_operand(tape.precision)) {}

  void run() {
    take_input();
    for (int layer = 0; layer < shape_.layers; ++layer) {
      run_layer(layer);
      if (!call_.need_grad && layer > 0) {
        for (int d = 0; d < shape_.directions; ++d) tape_.at(layer - 1, d) = {};
      }
    }
    tape_.x_operands = {};
    for (LayerTape<T>& layer : tape_.layers) {
      layer.h = {};
      layer.output_operands = {};
    }
    zero_padding(queue_, packed_, shape_.times, call_.batch_first,
                 shape_.directions * shape_.hidden, call_.y);
  }

  // What one direction needs during its layer's pass and no longer.
  struct Direction {
    ForwardOp<T> op{};
    Memory<T> input_product, product, bias, raw[kNormKinds], moments[kNormKinds];
    Memory<uint16_t> input_weights, recurrent_weights;
  };

  // The input as packed rows: the caller's memory where that is already so, else a copy. A tape has
  // its own, so that the caller may reuse x.
  void take_input() {
    const int64_t width = shape_.input;
    if (call_.dropout.training) {
      tape_.x_mask =
          sequence_mask<T>(queue_, call_.dropout, call_.dropout.input, stream_of(MaskOf::kInput, 0),
                           tape_.packed, width, call_.dropout.per_sequence);
    }
    const Mask<T> mask = tape_.x_mask.view;
    const Packed packed = packed_;
    const T* from = call_.x;
    T* to = nullptr;
    uint16_t* operands = nullptr;
    tape_.x_rows = from;
    const bool shortened = is_short(operand_);
    const bool in_place = !mask.bits && !packed.slot;
    if (call_.need_grad || (!in_place && !shortened)) {
      tape_.x = memory<T>(queue_, "x", rows_, width);
      tape_.x_rows = to = tape_.x.get();
    }
    if (shortened) {
      tape_.x_operands = memory<uint16_t>(queue_, "x", rows_, width);
      operands = tape_.x_operands.get();
    }
    if (in_place && to && !operands) return queue_.copy(to, from, rows_ * width);
    if (!to && !operands) return;
    const Operand operand = operand_;
    queue_.each(
        "input", packed.times * packed.batch, width, NORMRNN_LAMBDA(int64_t q, int64_t c) {
          const Packed::Place at = packed.place(q);
          if (!at.exists) return;
          const T value =
              MaskRow<T>(mask, at.row, at.r)(from[packed.slot_of(at.row) * width + c], c);
          if (to) to[at.row * width + c] = value;
          if (operands) store_operand(operands, operand, at.row * width + c, value);
        });
  }

  void run_layer(int layer) {
    Direction direction[2];
    Key key;
    key.add('f').add(sizeof(T)).add(packed_);
    const Schedule& schedule = tape_.packed.schedule;
    key.add(schedule.offset.data(), packed_.offset ? schedule.offset.size() : 0);
    for (int d = 0; d < shape_.directions; ++d) {
      prepare(layer, d, direction[d]);
      key.add(direction[d].op).add(call_.cell.data(), call_.cell.size());
    }
    queue_.repeatable(key, 2 * shape_.directions * packed_.times, [&](Queue& queue) {
      queue.side_by_side(shape_.directions,
                         [&](int d, Queue& own) { through_time(own, direction[d].op); });
    });
    for (int d = 0; d < shape_.directions; ++d) take_final(layer, d, direction[d].op);
  }

  void prepare(int layer, int d, Direction& to) {
    const int index = layer * shape_.directions + d;
    const bool last = layer == shape_.layers - 1;
    const int64_t hidden = shape_.hidden, batch = shape_.batch;
    const Weights<T>& weights = call_.weights[size_t(index)];
    LayerTape<T>& own = tape_.at(layer, d);
    ForwardOp<T>& op = to.op;
    op.hidden = hidden;
    op.batch = batch;
    op.reverse = d == 1;
    op.operand = operand_;
    own.masks = layer_masks<T>(queue_, call_.dropout, tape_.packed, hidden, layer * 2 + d, last,
                               Cell::kStates, kIsDiagonal<Cell> ? 1 : gate_columns_);
    op.masks = own.masks.view;
    for (int s = 0; s < Cell::kStates; ++s) {
      const bool keep = call_.need_grad || (s == 0 && !last);
      own.rows[s] = op.rows[s] = StateRows::of(keep, op.reverse, batch, rows_);
      own.state[s] = memory<T>(queue_, "states", StateRows::count(keep, batch, rows_), hidden);
      op.state[s] = own.state[s].get();
    }
    const int64_t h_rows = StateRows::count(op.rows[0].kept, batch, rows_);
    op.h = op.state[0];
    if (op.masks.state.bits) {
      own.masked_h = memory<T>(queue_, "states", h_rows, hidden);
      op.h = op.masked_h = own.masked_h.get();
    }
    if (is_short(operand_)) {
      own.h = memory<uint16_t>(queue_, "states", h_rows, hidden);
      op.h = own.h.get();
    }
    take_initial(index, op);
    take_weights(weights, own, to);
    to.input_product = memory<T>(queue_, "input product", rows_, gate_columns_);
    op.input_product = to.input_product.get();
    multiply_input(layer, weights, to);
    if constexpr (!kIsDiagonal<Cell>) {
      to.product = memory<T>(queue_, "recurrent product", batch, gate_columns_);
      op.product = to.product.get();
    }
    if (call_.need_grad && Cell::kTape > 0) {
      // In the place of U x, if that has room and is not looked at again.
      if (!kNorm && Cell::kTape <= P::kGates) {
        own.gates = std::move(to.input_product);
        own.tape_ld = gate_columns_;
      } else {
        own.tape_ld = Cell::kTape * hidden;
        own.gates = memory<T>(queue_, "tape", rows_, own.tape_ld);
      }
      op.tape = own.gates.get();
      op.tape_ld = own.tape_ld;
    }
    if constexpr (kNorm) prepare_norms(weights, own, to);
    if (last) {
      op.y = call_.y + d * hidden;
      op.y_ld = shape_.directions * hidden;
      op.y_slot = packed_.slot;
      return;
    }
    if (op.masks.output.bits) {
      own.output = memory<T>(queue_, "outputs", rows_, hidden);
      op.y = own.output.get();
      op.y_ld = hidden;
    }
    // What the layer above reads, where that is not what this one's own product does.
    if (is_short(operand_) && (op.masks.output.bits || op.masks.state.bits)) {
      own.output_operands = memory<uint16_t>(queue_, "outputs", rows_, hidden);
      op.y_operands = own.output_operands.get();
    }
  }

  // The rows that come before the first steps, in the order of the packed rows.
  void take_initial(int index, const ForwardOp<T>& op) {
    const Packed packed = packed_;
    for (int s = 0; s < Cell::kStates; ++s) {
      const int64_t hidden = op.hidden;
      const T* from = call_.initial[size_t(s)];
      if (from) from += index * op.batch * hidden;
      queue_.each(
          "initial state", op.batch, hidden, NORMRNN_LAMBDA(int64_t r, int64_t u) {
            const T value = from ? from[packed.order_of(r) * hidden + u] : T(0);
            const int64_t at = (op.rows[s].initial + r) * hidden + u;
            op.state[s][at] = value;
            if (s > 0) return;
            const T operand = MaskRow<T>(op.masks.state, r, r)(value, u);
            if (op.masked_h) op.masked_h[at] = operand;
            if (is_short(op.operand)) store_operand(op.h, op.operand, at, operand);
          });
    }
  }

  void take_weights(const Weights<T>& weights, LayerTape<T>& own, Direction& to) {
    const int64_t hidden = shape_.hidden;
    const T* recurrent = weights.hh;
    if (const Mask<T>& mask = own.masks.weight_hh.view; mask.bits) {
      const int64_t rows = kIsDiagonal<Cell> ? 1 : gate_columns_;
      own.weight_hh = memory<T>(queue_, "weight_hh", rows, hidden);
      mask_matrix(queue_, mask, rows, hidden, weights.hh, own.weight_hh.get());
      recurrent = own.weight_hh.get();
    }
    if constexpr (kIsDiagonal<Cell>) {
      to.op.diagonal = recurrent;
    } else {
      to.op.recurrent =
          as_operands(queue_, operand_, recurrent, gate_columns_ * hidden, to.recurrent_weights);
    }
    if constexpr (!kNorm) {
      to.bias = memory<T>(queue_, "biases", kBiases * hidden);
      T* bias = to.bias.get();
      queue_.each(
          "biases", kBiases, hidden, NORMRNN_LAMBDA(int64_t j, int64_t u) {
            constexpr int kShared = P::kGates - P::kSplit;
            T sum = 0;
            if (j < P::kGates && weights.b_ih) sum += weights.b_ih[j * hidden + u];
            if (j < kShared && weights.b_hh) sum += weights.b_hh[j * hidden + u];
            if (j >= P::kGates && weights.b_hh) sum += weights.b_hh[(j - P::kSplit) * hidden + u];
            bias[j * hidden + u] = sum;
          });
      to.op.bias = bias;
    }
  }

  void multiply_input(int layer, const Weights<T>& weights, Direction& to) {
    typename Tape<T>::Segment segment[2];
    const int segments = tape_.inputs(layer, segment);
    const int64_t columns = tape_.input_of(layer);
    const void* u =
        as_operands(queue_, operand_, weights.ih, gate_columns_ * columns, to.input_weights);
    int64_t first = 0;
    for (int s = 0; s < segments; ++s) {
      const int64_t k = segment[s].width;
      const void* a = is_short(operand_) ? static_cast<const void*>(segment[s].operands)
                                         : static_cast<const void*>(segment[s].rows);
      queue_.multiply(Product<T>{"U x", rows_, gate_columns_, k, a, k, false,
                                 operand_at<T>(u, operand_, first), columns, true,
                                 to.op.input_product, gate_columns_, s > 0, operand_});
      first += k;
    }
  }

  void prepare_norms(const Weights<T>& weights, LayerTape<T>& own, Direction& to) {
    ForwardOp<T>& op = to.op;
    op.keep_norms = call_.need_grad;
    const int64_t width[kNormKinds] = {gate_columns_, gate_columns_,
                                       kNormsState<Cell> ? op.hidden : 0};
    const T* parameters[kNormKinds][2] = {{weights.gain_ih, weights.b_ih},
                                          {weights.gain_hh, weights.b_hh},
                                          {weights.gain_c, weights.b_c}};
    for (int kind = 0; kind < kNormKinds; ++kind) {
      const int64_t rows = kind == kInputNorm || op.keep_norms ? rows_ : op.batch;
      Memory<T>& raw = op.keep_norms ? own.raw[kind] : to.raw[kind];
      Memory<T>& moments = op.keep_norms ? own.moments[kind] : to.moments[kind];
      if (kind == kInputNorm) {
        raw = std::move(to.input_product);
      } else {
        raw = memory<T>(queue_, "norms", rows, width[kind]);
      }
      moments = memory<T>(queue_, "norms", rows, width[kind] ? 2 : 0);
      op.norms[kind] = {width[kind], parameters[kind][0], parameters[kind][1], raw.get(),
                        moments.get()};
    }
    queue_.groups("input norm", rows_, 1, RowMoments<T>{op.norms[kInputNorm]});
  }

  void through_time(Queue& queue, const ForwardOp<T>& op) const {
    const Steps steps{tape_.packed.schedule, op.reverse != 0};
    for (int64_t step = 0; step < packed_.times; ++step) {
      const StepRows at = step_rows(op, steps, step);
      if constexpr (!kIsDiagonal<Cell>) {
        multiply_state(queue, op, at, at.previous[0], 0, at.running);
        multiply_state(queue, op, at, op.rows[0].initial, at.running, at.now);
      }
      if (op.masks.any) {
        one_step<true>(queue, op, at);
      } else {
        one_step<false>(queue, op, at);
      }
    }
  }

  // W h for rows [begin, end) of a step, whose states before it lie from row `previous` on.
  void multiply_state(Queue& queue, const ForwardOp<T>& op, const StepRows& at, int64_t previous,
                      int64_t begin, int64_t end) const {
    if (begin == end) return;
    T* to = op.product;
    if (kNorm) to = op.norms[kRecurrentNorm].raw + (op.keep_norms ? at.packed : 0) * gate_columns_;
    queue.multiply(Product<T>{"W h", end - begin, gate_columns_, op.hidden,
                              operand_at<T>(op.h, op.operand, (previous + begin) * op.hidden),
                              op.hidden, false, op.recurrent, op.hidden, true,
                              to + begin * gate_columns_, gate_columns_, false, op.operand});
  }

  template <bool kMasked>
  void one_step(Queue& queue, const ForwardOp<T>& op, const StepRows& at) const {
    if constexpr (kNorm) {
      queue.groups("forward step", at.now, 1, NormStep<Cell, kMasked, T>{op, at});
    } else {
      queue.each("forward step", at.now, op.hidden, ForwardStep<Cell, kMasked, T>{op, at});
    }
  }

  void take_final(int layer, int d, const ForwardOp<T>& op) {
    const int64_t first = (layer * shape_.directions + d) * op.batch;
    const Packed packed = packed_;
    for (int s = 0; s < Cell::kStates; ++s) {
      T* to = call_.final[size_t(s)];
      queue_.each(
          "final state", op.batch, op.hidden, NORMRNN_LAMBDA(int64_t r, int64_t u) {
            const int64_t row = op.rows[s].last(packed, r, op.reverse != 0);
            to[(first + packed.order_of(r)) * op.hidden + u] = op.state[s][row * op.hidden + u];
          });
    }
  }

  Queue& queue_;
  const ForwardCall<T>& call_;
  Tape<T>& tape_;
  const Shape& shape_;
  const Packed packed_;
  const int64_t rows_, gate_columns_;
  const Operand operand_;
};

template <class T, class Queue>
std::shared_ptr<Tape<T>> forward(Queue& queue, const ForwardCall<T>& call,
                                 cuda::Precision precision) {
  if (call.packed) throw std::invalid_argument("frozen weights: expected none on a device");
  if (sizeof(T) == 8 && precision != cuda::Precision::kFull) {
    throw std::invalid_argument("precision: expected full with float64 arrays");
  }
  auto tape = std::make_shared<Tape<T>>();
  tape->cell = index_of("cell", cell_names(), call.cell);
  tape->shape = call.shape;
  tape->batch_first = call.batch_first;
  tape->precision = precision;
  tape->packed =
      make_packed(queue, call.shape.times, call.shape.batch, call.lengths, call.batch_first);
  tape->weights = call.weights;
  tape->layers.resize(size_t(call.shape.layers * call.shape.directions));
  int cell = 0;
#define NORMRNN_CELL(name, type) \
  if (tape->cell == cell++) ForwardPass<type, T, Queue>(queue, call, *tape).run();
#include "cells/cells.def"
  return call.need_grad ? tape : nullptr;
}

}  // namespace normrnn::device
