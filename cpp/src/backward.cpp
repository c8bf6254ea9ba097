// Back-propagation through time of a stack, from the last layer to the first.
//
// The loop over time yields dL/d gates; every gradient of a weight, a bias or an input is then one
// large product over all steps, outside the loop.
//
// One file of over 400 lines, for its parts share one object: the tape, the call and their sizes.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "norms.h"
#include "sequence.h"
#include "state_penalty.h"

namespace normrnn {
namespace {

using cpu::ColumnBlock;

// Gates of d_gates, by place: the first G (what the input saw), the last G (what W h saw). The
// first kSplit places belong to the last gates; see cells/cell.h.
template <class T>
int input_blocks(const cpu::CellKernels<T>& cell, int64_t hidden, ColumnBlock* block) {
  const int64_t split = cell.split * hidden, shared = (cell.gates - cell.split) * hidden;
  int count = 0;
  if (split) block[count++] = {0, shared, split};
  if (shared) block[count++] = {split, 0, shared};
  return count;
}

template <class T, class E>
class BackwardPass {
  static constexpr bool kSame = cpu::kNumbersIn<E> == 1;

 public:
  BackwardPass(const Tape<T>& tape, const BackwardCall<T>& call)
      : tape_(tape),
        call_(call),
        shape_(tape.shape),
        schedule_(tape.schedule),
        cell_(*tape.cell),
        kernels_(kernels<T>()),
        panels_(panels_of(shape_.hidden, kernels_.panel_width)),
        gates_ld_(padded_row<T>(all_gates() * shape_.hidden, kernels_.lanes)),
        gate_operands_(
            kSame ? shape_.hidden
                  : cpu::operands_of<E>(panels_of(shape_.hidden, kernels_.lanes) * kernels_.lanes)),
        operands_ld_(kSame ? gates_ld_
                           : padded_row<E>(all_gates() * gate_operands_, kernels_.lanes)) {}

  // Returns the value of the state penalties.
  double run() {
    cpu::Rows<const T> dy{call_.dy, shape_.directions * shape_.hidden, schedule_.slots()};
    Buffer<T> d_output;  // of the layer at work, from the one above
    for (int layer = shape_.layers - 1; layer >= 0; --layer) {
      Layer one;
      prepare(layer, dy, one);
      if (two_in_step(layer)) {
        Layer below;
        Buffer<T> between = both_in_step(layer, one, below);
        weight_gradients(layer, one);
        one = std::move(below);
        --layer;
      } else {
        through_time(layer, one);
      }
      weight_gradients(layer, one);
      cpu::Rows<T> d_input{call_.dx, shape_.input, schedule_.slots()};
      if (layer > 0) {
        d_output = outputs();
        d_input = {d_output.get(), outputs_ld(), nullptr};
        dy = {d_output.get(), outputs_ld(), nullptr};
      }
      Buffer<E> packed[2];
      const cpu::MatMul<T, E> op = input_gradient(layer, one, d_input, packed);
      const int64_t work = op.rows * op.columns * cell_.gates * shape_.hidden;
      run_parallel(workers_for(work, call_.threads),
                   [&](Worker& worker) { with_operands<E>(kernels_).matmul(op, worker); });
    }
    if (const cpu::Mask<T>& mask = tape_.x_mask.view; mask.bits) {
      const cpu::Rows<T> dx{call_.dx, shape_.input, schedule_.slots()};
      mask_rows<T>(mask, schedule_, shape_.input, {dx.data, dx.ld, dx.slot}, dx, call_.threads);
    }
    zero_padding(tape_, call_.dx, shape_.input);
    return penalty_;
  }

 private:
  // One direction of one layer, with the memory that its pass needs.
  struct Direction {
    cpu::LayerBackward<T, E> op{};
    Buffer<E> recurrent;
    Buffer<T> d_state;
    Buffer<double> norm_parts;
    StatePenalties<T> penalties;
    // Cells with layer norm
    Buffer<T> norm_parameters, d_rec, norm_rows, own_rec;
    Buffer<E> rec_operands, own_operands;
    Buffer<double> d_diagonal;  // diagonal cells
  };
  struct Layer {
    Buffer<T> d_gates[2];
    Buffer<E> operands[2];  // the same in bfloat16
    Direction direction[2];
  };

  // Gates of a row of d_gates.
  int all_gates() const { return cell_.gates + cell_.split + cell_.inner; }

  // dL/d output of a layer, [N, outputs_ld]
  int64_t outputs_ld() const {
    return padded_row<T>(shape_.directions * shape_.hidden, kernels_.lanes);
  }
  Buffer<T> outputs() const { return Buffer<T>(product(schedule_.rows(), outputs_ld())); }

  void prepare(int layer, cpu::Rows<const T> dy, Layer& to) {
    for (int d = 0; d < shape_.directions; ++d) {
      to.d_gates[d] = Buffer<T>(product(schedule_.rows(), gates_ld_));
      cpu::Rows<const T> own = dy;
      if (own.data) own.data += d * shape_.hidden;
      prepare(layer, d, own, to.d_gates[d].get(), to.direction[d]);
      if constexpr (kSame) {
        to.direction[d].op.operands = to.d_gates[d].get();
      } else {
        to.operands[d] = Buffer<E>(product(schedule_.rows(), operands_ld_));
        to.direction[d].op.operands = to.operands[d].get();
      }
    }
  }

  LayerCost cost() const {
    constexpr int64_t kElementwise = 8;  // about as many multiply-adds for each unit
    const int64_t depth = cell_.diagonal ? kElementwise : shape_.hidden;
    const int64_t gates = cell_.gates * shape_.hidden;
    return {panels_,        gates * depth,
            gates,          int64_t(sizeof(E)) / cpu::kNumbersIn<E>,
            kernels_.lanes, cell_.diagonal ? 0 : 1 + cell_.inner};
  }

  void through_time(int layer, Layer& one) {
    run_directions(
        schedule_, cost(), call_.threads, one.direction, shape_.directions,
        [&](Direction& direction, const Plan& plan, const cpu::Shares& shares) {
          take_plan(plan, shares, direction);
        },
        [&](const Direction& direction, Worker& worker) {
          with_operands<E>(cell_).backward(direction.op, worker);
        });
    for (int d = 0; d < shape_.directions; ++d) {
      finish(layer * shape_.directions + d, one.direction[d]);
      if (cell_.layer_norm) norm_gradients(layer * shape_.directions + d, one.direction[d].op);
    }
  }

  // Whether a layer and the one below it are expected to be faster at the same time.
  bool two_in_step(int layer) const {
    if (call_.threads < 2 || shape_.directions > 1 || layer == 0) return false;
    if (!keeps_pace(cell_)) return false;
    LayerCost below = cost();  // which also does the product with U of the layer above
    below.row_work *= 2;
    const Plan whole = make_plan(schedule_, cost(), call_.threads);
    return in_step(make_plan(schedule_, below, 1), make_plan(schedule_, cost(), 1), whole, whole);
  }

  // Returns what the upper layer sent to the lower one.
  Buffer<T> both_in_step(int layer, Layer& above, Layer& below) {
    Buffer<T> between = outputs();
    prepare(layer - 1, {between.get(), outputs_ld(), nullptr}, below);
    Buffer<E> packed[2];
    const cpu::MatMul<T, E> sent =
        input_gradient(layer, above, {between.get(), outputs_ld(), nullptr}, packed);
    cpu::LayerBackward<T, E>&lead = above.direction[0].op, &follow = below.direction[0].op;
    lead.pace = cpu::Pace::kLead;
    follow.pace = cpu::Pace::kFollow;
    follow.above = &sent;
    follow.above_rows = std::max(shape_.batch, schedule_.rows() / kLag);
    run_both(1, lead, follow, [&](const cpu::LayerBackward<T, E>& op, Worker& worker) {
      with_operands<E>(cell_).backward(op, worker);
    });
    finish(layer, above.direction[0]);
    finish(layer - 1, below.direction[0]);
    return between;
  }

  void prepare(int layer, int d, cpu::Rows<const T> dy, T* d_gates, Direction& to) {
    const int index = layer * shape_.directions + d;
    const LayerTape<T>& own = tape_.at(layer, d);
    const int64_t block = shape_.batch * shape_.hidden;
    const T* weight_hh = own.weight_hh.get() ? own.weight_hh.get() : tape_.weights[index].hh;
    if (!cell_.diagonal) {
      to.recurrent = pack_gate_rows(weight_hh, shape_.hidden, [](int g) { return g; });
    }
    to.d_state = Buffer<T>(product(cell_.states, shape_.batch, tape_.state_ld));
    for (int s = 0; s < cell_.states; ++s) {
      const T* final = call_.d_final[s] ? call_.d_final[s] + index * block : nullptr;
      gather_rows(final, schedule_, shape_.hidden,
                  to.d_state.get() + s * shape_.batch * tape_.state_ld, tape_.state_ld);
    }
    to.norm_parts = Buffer<double>(product(schedule_.rows(), panels_));

    cpu::LayerBackward<T, E>& op = to.op;
    op.hidden = shape_.hidden;
    op.batch = shape_.batch;
    op.times = schedule_.times;
    op.offset = schedule_.offset.data();
    op.reverse = d == 1;
    op.recurrent = to.recurrent.get();
    for (int s = 0; s < cell_.states; ++s) op.state[s] = own.state[s].get();
    op.state_ld = tape_.state_ld;
    op.tape = own.gates.get();
    op.tape_ld = tape_.state_ld;
    op.dy = dy;
    op.masks = own.masks.view;
    op.d_state = to.d_state.get();
    op.d_gates = d_gates;
    op.gates_ld = gates_ld_;
    op.operands_ld = operands_ld_;
    op.gate_operands = gate_operands_;
    op.norm_parts = to.norm_parts.get();
    to.penalties = StatePenalties<T>(tape_, call_, index, panels_);
    op.terms = to.penalties.terms();
    if (cell_.layer_norm) prepare_norms(index, own, to);
    if (cell_.diagonal) {
      to.d_diagonal = Buffer<double>(product(panels_, kernels_.panel_width));
      std::fill_n(to.d_diagonal.get(), panels_ * kernels_.panel_width, 0.0);
      op.d_diagonal = to.d_diagonal.get();
      op.diagonal = weight_hh;
      op.diagonal_h = own.masked_h.get() ? own.masked_h.get() : own.state[0].get();
    }
  }

  // What cells with layer norm need besides.
  void prepare_norms(int index, const LayerTape<T>& own, Direction& to) {
    cpu::LayerBackward<T, E>& op = to.op;
    to.norm_parameters = norm_parameters(cell_, tape_.weights[index], shape_.hidden, op.norms);
    norm_rows_of(own, kernels_.lanes, op.norms);
    op.norms.keep = true;
    op.d_rec_ld = padded_row<T>(cell_.gates * shape_.hidden, kernels_.lanes);
    to.d_rec = Buffer<T>(product(schedule_.rows(), op.d_rec_ld));
    op.d_rec = to.d_rec.get();
    if constexpr (kSame) {
      op.rec_operands = op.d_rec;
      op.rec_operands_ld = op.d_rec_ld;
    } else {
      op.rec_operands_ld = padded_row<E>(cell_.gates * gate_operands_, kernels_.lanes);
      to.rec_operands = Buffer<E>(product(schedule_.rows(), op.rec_operands_ld));
      op.rec_operands = to.rec_operands.get();
    }
    op.norm_rows_ld = padded_row<T>(cell_.inner * shape_.hidden, kernels_.lanes);
    to.norm_rows = Buffer<T>(product(call_.threads, op.norm_rows_ld));
    op.norm_rows = to.norm_rows.get();
  }

  void take_plan(const Plan& plan, const cpu::Shares& shares, Direction& to) {
    cpu::LayerBackward<T, E>& op = to.op;
    op.shares = shares;
    if (!cell_.layer_norm || plan.by_rows) return;
    const int64_t rows = product(plan.workers, shape_.batch);
    to.own_rec = Buffer<T>(product(rows, op.d_rec_ld));
    op.own_rec = to.own_rec.get();
    if constexpr (kSame) {
      op.own_operands = op.own_rec;
    } else {
      to.own_operands = Buffer<E>(product(rows, op.rec_operands_ld));
      op.own_operands = to.own_operands.get();
    }
  }

  // After the loop of a cell with layer norm: dL/d U x in the input's part of d_gates, and the
  // gradients of gains and biases.
  void norm_gradients(int index, const cpu::LayerBackward<T, E>& op) {
    cpu::NormGradients<T, E> sums{};
    sums.layer = &op;
    sums.rows = schedule_.rows();
    for (const cpu::Norm<T>& norm : op.norms.of) sums.sums_size += 2 * norm.width;
    const int64_t blocks = panels_of(sums.rows, cpu::kNormBlock);
    Buffer<T> memory(product(blocks + 1, sums.sums_size));
    sums.sums = memory.get();
    sums.parts = sums.sums + sums.sums_size;
    run_parallel(workers_for(sums.rows * sums.sums_size, call_.threads),
                 [&](Worker& worker) { with_operands<E>(cell_).norm_gradients(sums, worker); });
    const WeightGradients<T>& out = call_.d[index];
    T* const to[cpu::kNormKinds][2] = {
        {out.gain_ih, out.b_ih}, {out.gain_hh, out.b_hh}, {out.gain_c, out.b_c}};
    const T* from = sums.sums;
    for (int kind = 0; kind < cpu::kNormKinds; ++kind) {
      const int64_t width = op.norms.of[kind].width;
      for (T* array : to[kind]) {
        for (int64_t g = 0; array && g < width / shape_.hidden; ++g) {
          const int place = kind == cpu::kInputNorm ? place_of_input(cell_, int(g)) : int(g);
          std::copy_n(from + place * shape_.hidden, shape_.hidden, array + g * shape_.hidden);
        }
        from += width;
      }
    }
  }

  void finish(int index, Direction& from) {
    from.penalties.finish(from.norm_parts.get(), from.d_state.get());
    penalty_ += from.penalties.value();
    for (int s = 0; s < cell_.states; ++s) {
      for (int64_t r = 0; r < shape_.batch; ++r) {
        std::memcpy(
            call_.d_initial[s] + (index * shape_.batch + schedule_.order[r]) * shape_.hidden,
            from.d_state.get() + (s * shape_.batch + r) * tape_.state_ld,
            size_t(shape_.hidden) * sizeof(T));
      }
    }
    norms(from.norm_parts.get(), call_.h_norm + index * shape_.times);
    if (call_.h_norm_clipped) {
      norms(from.op.terms.clipped_parts, call_.h_norm_clipped + index * shape_.times);
    }
  }

  // l2 norms of dL/dh_t over batch and units, [T], from the squares of rows and panels.
  void norms(const double* parts, T* norm) const {
    for (int64_t t = 0; t < shape_.times; ++t) {
      double sum = 0;
      if (t < schedule_.times) {
        const double* part = parts + schedule_.offset[t] * panels_;
        for (int64_t i = 0; i < schedule_.rows_at(t) * panels_; ++i) sum += part[i];
      }
      norm[t] = T(std::sqrt(sum));
    }
  }

  void weight_gradients(int layer, const Layer& from) {
    std::vector<cpu::Outer<T>> ops;
    std::vector<int64_t> previous[2];
    cpu::Segment<T> input[kMaxSegments];
    const int segments = tape_.inputs(layer, input);
    const int64_t hidden = shape_.hidden, rows = cell_.gates * hidden;
    int64_t work = 0;
    for (int d = 0; d < shape_.directions; ++d) {
      const WeightGradients<T>& out = call_.d[layer * shape_.directions + d];
      previous[d] = schedule_.previous_rows(d == 1);
      cpu::Outer<T> op{};
      op.rows = schedule_.rows();
      const cpu::LayerBackward<T, E>& loop = from.direction[d].op;
      op.a = cell_.layer_norm ? loop.d_rec : loop.d_gates + cell_.split * hidden;
      op.a_ld = cell_.layer_norm ? loop.d_rec_ld : gates_ld_;
      op.block[0] = {0, 0, rows};
      op.blocks = 1;
      const LayerTape<T>& own = tape_.at(layer, d);
      op.b = own.masked_h.get() ? own.masked_h.get() : own.state[0].get();
      op.b_ld = tape_.state_ld;
      op.map = previous[d].empty() ? nullptr : previous[d].data();
      if (const T* operand = from.direction[d].op.terms.products) {  // Omega's, in place of h_{t-1}
        op.b = operand;
        op.map = nullptr;
      }
      op.columns = hidden;
      op.c = out.hh;
      op.c_ld = hidden;
      op.sums = cell_.layer_norm ? nullptr : out.b_hh;
      if (!cell_.diagonal) ops.push_back(op);
      op.a = loop.d_gates;
      op.a_ld = gates_ld_;
      op.blocks = input_blocks(cell_, hidden, op.block);
      op.map = nullptr;
      op.c_ld = tape_.input_of(layer);
      // Without split gates both biases have the same gradient, and it is summed once.
      op.sums = cell_.split || cell_.diagonal || !out.b_hh ? out.b_ih : nullptr;
      if (cell_.layer_norm) op.sums = nullptr;
      op.c = out.ih;
      for (int s = 0; s < segments; ++s) {
        op.b = input[s].a;
        op.b_ld = input[s].ld;
        op.columns = input[s].k;
        ops.push_back(op);
        op.c += input[s].k;
        op.sums = nullptr;
      }
      work += op.rows * rows * (hidden + op.c_ld);
    }
    run_outer(with_operands<E>(kernels_), ops.data(), int(ops.size()),
              workers_for(work, call_.threads));
    for (int d = 0; d < shape_.directions; ++d) {
      const WeightGradients<T>& out = call_.d[layer * shape_.directions + d];
      if (cell_.diagonal) {
        std::copy_n(from.direction[d].d_diagonal.get(), hidden, out.hh);
        if (out.b_hh) std::copy_n(out.b_ih, rows, out.b_hh);
      } else if (out.b_ih && out.b_hh && !cell_.split && !cell_.layer_norm) {
        std::copy_n(out.b_hh, rows, out.b_ih);
      }
      if (const cpu::Mask<T>& mask = tape_.at(layer, d).masks.weight_hh.view; mask.bits) {
        mask_matrix<T>(mask, cell_.diagonal ? 1 : rows, hidden, out.hh, out.hh, call_.threads);
      }
    }
  }

  // The product that makes dL/d input of a layer from its gates; packed: U of each direction.
  cpu::MatMul<T, E> input_gradient(int layer, const Layer& from, cpu::Rows<T> d_input,
                                   Buffer<E>* packed) const {
    cpu::MatMul<T, E> op{};
    op.rows = schedule_.rows();
    op.columns = tape_.input_of(layer);
    op.segments = shape_.directions;
    op.c = d_input;
    for (int d = 0; d < shape_.directions; ++d) {
      packed[d] = pack_gate_rows(tape_.weights[layer * shape_.directions + d].ih, op.columns,
                                 [&](int g) { return place_of_input(cell_, g); });
      op.segment[d] = {from.direction[d].op.operands, operands_ld_, cell_.gates * gate_operands_,
                       packed[d].get()};
    }
    return op;
  }

  // A weight [G*H, columns] as panels over its columns, gate g at place(g).
  template <class Place>
  Buffer<E> pack_gate_rows(const T* w, int64_t columns, Place&& place) const {
    const int64_t panels = panels_of(columns, kernels_.panel_width);
    const int64_t depth = cell_.gates * gate_operands_;
    ColumnBlock block[kMaxGates];
    for (int g = 0; g < cell_.gates; ++g) {
      block[g] = {place(g) * gate_operands_, g * shape_.hidden, shape_.hidden};
    }
    const int64_t size = product(panels, kernels_.panel_width, depth);
    Buffer<E> packed(size);
    if (cpu::kNumbersIn<E> * gate_operands_ != shape_.hidden) {  // not all rows are written
      std::memset(static_cast<void*>(packed.get()), 0, size_t(size) * sizeof(E));
    }
    parallel_for(call_.threads, panels, product(depth, columns), [&](int64_t p) {
      with_operands<E>(kernels_).pack(w, columns, block, cell_.gates, depth, columns, p, p + 1,
                                      packed.get());
    });
    return packed;
  }

  const Tape<T>& tape_;
  const BackwardCall<T>& call_;
  const Shape& shape_;
  const Schedule& schedule_;
  const cpu::CellKernels<T>& cell_;
  const cpu::Kernels<T>& kernels_;
  const int64_t panels_, gates_ld_, gate_operands_, operands_ld_;
  double penalty_ = 0;
};

}  // namespace

template <class T>
double backward(const Tape<T>& tape, const BackwardCall<T>& call) {
  if (!tape.frozen &&
      weights_fingerprint(tape.weights, tape.shape, *tape.cell, call.threads) != tape.fingerprint) {
    throw std::invalid_argument(
        "tape: expected the weights of its forward pass, got weights that were changed since");
  }
  if constexpr (sizeof(T) == 4) {
    if (tape.bf16) return BackwardPass<T, cpu::Bf16Pair>(tape, call).run();
  }
  return BackwardPass<T, T>(tape, call).run();
}

template double backward(const Tape<float>&, const BackwardCall<float>&);
template double backward(const Tape<double>&, const BackwardCall<double>&);

}  // namespace normrnn
