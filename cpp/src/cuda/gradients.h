// What is left to do for a layer when the loop over time has made dL/d gates: the gradients of
// weights, biases and the layer's input, each one large product or sum over all steps.
#pragma once

#include "cuda/forward.h"
#include "cuda/norm_backward.h"
#include "cuda/reduce.h"

namespace normrnn::device {

// Gradients soon leave float16's range: they take tf32, which has as many significant bits.
inline Operand backward_operand(cuda::Precision precision) {
  switch (precision) {
    case cuda::Precision::kTf32:
    case cuda::Precision::kFloat16:
      return Operand::kTf32;
    case cuda::Precision::kBfloat16:
      return Operand::kBfloat16;
    default:
      return Operand::kSame;
  }
}
inline Operand gradient_operand(cuda::Precision precision) {
  return precision == cuda::Precision::kFull ? Operand::kSame : Operand::kTf32;
}

// All public: nvcc allows device lambdas in public member functions only.
template <class Cell, class T, class Queue>
struct Gradients {
  using P = Products<Cell>;
  static constexpr bool kNorm = kHasLayerNorm<Cell>;

  Gradients(Queue& queue, const Tape<T>& tape, const BackwardCall<T>& call)
      : queue_(queue),
        tape_(tape),
        call_(call),
        shape_(tape.shape),
        packed_(tape.packed.view),
        rows_(tape.packed.schedule.rows()),
        gate_columns_(P::kGates * shape_.hidden),
        gates_ld_((P::kGates + P::kSplit + (kNormsState<Cell> ? 1 : 0)) * shape_.hidden),
        operand_(backward_operand(tape.precision)),
        gradient_(gradient_operand(tape.precision)) {}

  // From the gates' gradients to those of weights, biases and the layer's input, to which this
  // direction adds its part.
  void run(int layer, int d, const BackwardOp<T>& op, T* d_input) {
    const int index = layer * shape_.directions + d;
    const WeightGradients<T>& out = call_.d[size_t(index)];
    recurrent_gradient(layer, d, op, out);
    if constexpr (kNorm) {
      norm_gradients(op, out);
      queue_.groups("input norm", rows_, 1, InputNormBackward<Cell, T>{op});
    } else {
      bias_gradients(op, out);
    }
    // U's gates lie in two pieces where some are split: these first, which are the last of the
    // weights' rows.
    constexpr int64_t kSplit = P::kSplit, kShared = P::kGates - P::kSplit;
    if (kSplit > 0) {
      input_gradients(layer, d, op, out, d_input, 0, kShared, kSplit, d > 0);
    }
    if (kShared > 0) {
      input_gradients(layer, d, op, out, d_input, kSplit, 0, kShared, d > 0 || kSplit > 0);
    }
  }

  // Of `count` gates, from place `place` in d_gates on and gate `gate` in the weights.
  void input_gradients(int layer, int d, const BackwardOp<T>& op, const WeightGradients<T>& out,
                       T* d_input, int64_t place, int64_t gate, int64_t count, bool add) {
    const int64_t hidden = shape_.hidden, columns = tape_.input_of(layer), m = count * hidden;
    typename Tape<T>::Segment segment[2];
    const int segments = tape_.inputs(layer, segment);
    T* d_u = out.ih + gate * hidden * columns;
    for (int s = 0; s < segments; ++s) {
      const int64_t width = segment[s].width;
      queue_.multiply(Product<T>{"d U", m, width, rows_, op.d_gates + place * hidden, gates_ld_,
                                 true, segment[s].rows, width, false, d_u, columns, false,
                                 gradient_});
      d_u += width;
    }
    const int index = layer * shape_.directions + d;
    Memory<uint16_t> copy;
    const T* weights = tape_.weights[size_t(index)].ih + gate * hidden * columns;
    const void* u = as_operands(queue_, operand_, weights, m * columns, copy);
    const void* a = op.d_gates;
    if (is_short(operand_)) a = op.operands;
    queue_.multiply(Product<T>{"d x", rows_, columns, m, operand_at<T>(a, operand_, place * hidden),
                               gates_ld_, false, u, columns, false, d_input, columns, add,
                               operand_});
  }

  // The rows of h before each packed row, as the product with W read them [N, H]; copied where they
  // are not already in that order.
  const T* rows_before(const BackwardOp<T>& op, const T* h, Memory<T>& copy) {
    if (op.rows[0].shifted(packed_)) return h + op.rows[0].before(packed_) * op.hidden;
    copy = memory<T>(queue_, "states before", rows_, op.hidden);
    T* to = copy.get();
    const Packed packed = packed_;
    queue_.each(
        "states before", packed.times * packed.batch, op.hidden,
        NORMRNN_LAMBDA(int64_t q, int64_t u) {
          const Packed::Place at = packed.place(q);
          if (!at.exists) return;
          const int64_t row = op.rows[0].previous(packed, at.t, at.r, op.reverse != 0);
          to[at.row * op.hidden + u] = h[row * op.hidden + u];
        });
    return to;
  }

  void recurrent_gradient(int layer, int d, const BackwardOp<T>& op,
                          const WeightGradients<T>& out) {
    const LayerTape<T>& own = tape_.at(layer, d);
    const int64_t hidden = op.hidden;
    Memory<T> copy;
    const T* h = own.masked_h.get() ? own.masked_h.get() : op.state[0];
    const T* before = op.terms.products;  // Omega's, in place of h_{t-1}
    if (!before) before = rows_before(op, h, copy);
    if constexpr (kIsDiagonal<Cell>) {
      column_sums(
          queue_, "d u", rows_, hidden,
          NORMRNN_LAMBDA(int64_t i, int64_t u)->double {
            return double(op.d_gates[i * op.gates_ld + u]) * double(before[i * hidden + u]);
          },
          out.hh);
    } else {
      const T* a = kNorm ? op.d_rec : op.d_gates + P::kSplit * hidden;
      queue_.multiply(Product<T>{"d W", gate_columns_, hidden, rows_, a,
                                 kNorm ? gate_columns_ : gates_ld_, true, before, hidden, false,
                                 out.hh, hidden, false, gradient_});
    }
    if (const Mask<T>& mask = own.masks.weight_hh.view; mask.bits) {
      mask_matrix(queue_, mask, kIsDiagonal<Cell> ? 1 : gate_columns_, hidden, out.hh, out.hh);
    }
  }

  void bias_gradients(const BackwardOp<T>& op, const WeightGradients<T>& out) {
    if (!out.b_ih && !out.b_hh) return;
    const int64_t hidden = op.hidden;
    Memory<T> sums = memory<T>(queue_, "d biases", gates_ld_);
    const T* of_place = sums.get();
    column_sums(
        queue_, "d biases", rows_, gates_ld_,
        NORMRNN_LAMBDA(int64_t i, int64_t c)->T { return op.d_gates[i * op.gates_ld + c]; },
        sums.get());
    queue_.each(
        "d biases", P::kGates, hidden, NORMRNN_LAMBDA(int64_t g, int64_t u) {
          const int64_t at = g * hidden + u;
          if (out.b_ih) out.b_ih[at] = of_place[place_of_input<P>(int(g)) * hidden + u];
          if (out.b_hh) out.b_hh[at] = of_place[place_of_recurrent<P>(int(g)) * hidden + u];
        });
  }

  // Of gains and biases of the norms, from dL/d what the cell takes.
  void norm_gradients(const BackwardOp<T>& op, const WeightGradients<T>& out) {
    T* const to[kNormKinds][2] = {
        {out.gain_ih, out.b_ih}, {out.gain_hh, out.b_hh}, {out.gain_c, out.b_c}};
    const int64_t first[kNormKinds] = {0, P::kSplit * op.hidden, P::kGates * op.hidden};
    for (int kind = 0; kind < kNormKinds; ++kind) {
      const Norm<T> norm = op.norms[kind];
      const int64_t from = first[kind];
      const bool input = kind == kInputNorm;
      const auto column_of = NORMRNN_LAMBDA(int64_t c)->int64_t {
        if (!input) return from + c;
        return place_of_input<P>(int(c / op.hidden)) * op.hidden + c % op.hidden;
      };
      if (norm.width == 0) continue;
      if (to[kind][0]) {
        column_sums(
            queue_, "d gains", rows_, norm.width,
            NORMRNN_LAMBDA(int64_t i, int64_t c)->double {
              return double(op.d_gates[i * op.gates_ld + column_of(c)]) * double(norm.unit(i, c));
            },
            to[kind][0]);
      }
      if (to[kind][1]) {
        column_sums(
            queue_, "d biases", rows_, norm.width,
            NORMRNN_LAMBDA(int64_t i, int64_t c)->T {
              return op.d_gates[i * op.gates_ld + column_of(c)];
            },
            to[kind][1]);
      }
    }
  }

  Queue& queue_;
  const Tape<T>& tape_;
  const BackwardCall<T>& call_;
  const Shape& shape_;
  const Packed packed_;
  const int64_t rows_, gate_columns_, gates_ld_;
  const Operand operand_, gradient_;
};

}  // namespace normrnn::device
