// Forward pass of a stack: layer by layer, direction by direction.
#include <algorithm>

#include "norms.h"
#include "packing.h"

namespace normrnn {

namespace {

// The input as packed rows: the caller's memory where that is already so, else a copy. A tape
// always has its own, so that the caller may reuse x.
template <class T>
void take_input(const ForwardCall<T>& call, Tape<T>& tape, int lanes) {
  const int64_t width = call.shape.input, rows = tape.schedule.rows();
  const int64_t ld = padded_row<T>(width, lanes);
  tape.x_mask = input_mask<T>(call.dropout, tape.schedule, width, call.threads);
  const bool in_place = !call.need_grad && !tape.x_mask.view.bits && tape.schedule.slot.empty();
  if (in_place) {
    tape.x = {call.x, width, nullptr};
    return;
  }
  tape.x_copy = Buffer<T>(product(rows, ld));
  tape.x = {tape.x_copy.get(), ld, nullptr};
  const int64_t* slot = tape.schedule.slots();
  if (tape.x_mask.view.bits) {
    return mask_rows<T>(tape.x_mask.view, tape.schedule, width, {call.x, width, slot},
                        {tape.x_copy.get(), ld, nullptr}, call.threads);
  }
  parallel_rows(call.threads, rows, ld, [&](int64_t i) {
    std::memcpy(tape.x_copy.get() + i * ld, call.x + (slot ? slot[i] : i) * width,
                size_t(width) * sizeof(T));
  });
}

// The input and the states' rows as operands in bfloat16.
inline void take_pairs(const ForwardCall<float>& call, Tape<float>& tape, int lanes) {
  const int64_t width = call.shape.input, rows = tape.schedule.rows();
  const bool masked = tape.x_mask.view.bits != nullptr;
  const cpu::Rows<const float> x =
      masked ? tape.x : cpu::Rows<const float>{call.x, width, tape.schedule.slots()};
  tape.x_pairs_ld = padded_row<cpu::Bf16Pair>(cpu::operands_of<cpu::Bf16Pair>(width), lanes);
  tape.h_pairs_ld =
      padded_row<cpu::Bf16Pair>(cpu::operands_of<cpu::Bf16Pair>(call.shape.hidden), lanes);
  tape.x_pairs = Buffer<cpu::Bf16Pair>(product(rows, tape.x_pairs_ld));
  parallel_for(call.threads, rows, rows * width, [&](int64_t i) {
    kernels<float>().to_pairs(x.data + (x.slot ? x.slot[i] : i) * x.ld, width, 1, width,
                              tape.x_pairs.get() + i * tape.x_pairs_ld, tape.x_pairs_ld);
  });
}

// One direction of one layer, with the memory that its pass needs.
template <class T, class E>
struct Direction {
  cpu::LayerForward<T, E> op{};
  PackedForward<T, E> packed;
  Buffer<T> product;
  Buffer<T> norm_parameters, gate_rows;
};

// Most rows of U x that are made ahead of their steps: those that stay in a core's cache, and at
// least a few tiles.
template <class T>
int64_t rows_ahead(const Tape<T>& tape, int64_t row, int workers) {
  constexpr int64_t kBytes = 1 << 18, kFewestRows = 48;
  const int64_t fitting = workers * kBytes / (row * int64_t(sizeof(T)));
  return std::min(tape.schedule.rows(), std::max({4 * tape.shape.batch, kFewestRows, fitting}));
}

// What cells with layer norm need besides.
template <class T, class E>
void prepare_norms(const ForwardCall<T>& call, const Tape<T>& tape, const Weights<T>& weights,
                   LayerTape<T>& own, Direction<T, E>& to) {
  const cpu::CellKernels<T>& cell = *tape.cell;
  const int lanes = kernels<T>().lanes;
  const int64_t units = panels_of(call.shape.hidden, cell.panel_units) * cell.panel_units;
  cpu::LayerForward<T, E>& op = to.op;
  to.norm_parameters = norm_parameters(cell, weights, call.shape.hidden, op.norms);
  op.norms.keep = call.need_grad;
  op.gate_rows_ld = padded_row<T>(units * (cell.gates + cell.split + cell.inner), lanes);
  op.product_rows = rows_ahead(tape, units * cell.gates, call.threads);
  for (int kind = 0; kind < cpu::kNormKinds; ++kind) {
    int64_t rows = kind == cpu::kInputNorm ? op.product_rows : call.shape.batch;
    if (call.need_grad) rows = tape.schedule.rows();
    own.raw[kind] = Buffer<T>(product(rows, padded_row<T>(op.norms.of[kind].width, lanes)));
    own.moments[kind] = Buffer<T>(product(rows, op.norms.of[kind].width ? 2 : 0));
  }
  norm_rows_of(own, lanes, op.norms);
}

template <class T, class E>
void prepare(const ForwardCall<T>& call, Tape<T>& tape, int layer, int d, Direction<T, E>& to) {
  constexpr bool kSame = cpu::kNumbersIn<E> == 1;
  const cpu::CellKernels<T>& cell = *tape.cell;
  const Shape& shape = call.shape;
  const Schedule& schedule = tape.schedule;
  const int index = layer * shape.directions + d;
  LayerTape<T>& own = tape.at(layer, d);

  cpu::LayerForward<T, E>& op = to.op;
  op.hidden = shape.hidden;
  op.batch = shape.batch;
  op.times = schedule.times;
  op.offset = schedule.offset.data();
  op.reverse = d == 1;
  op.segments = tape.inputs(layer, op.input);
  const PackedForward<T, E>* packed =
      call.packed ? call.packed->template direction<E>(index) : nullptr;
  const bool last = layer == shape.layers - 1;
  const int64_t weight_rows = cell.diagonal ? 1 : cell.gates * shape.hidden;
  own.masks = layer_masks<T>(call.dropout, schedule, shape.hidden, layer * 2 + d, last, cell.states,
                             weight_rows, call.threads);
  op.masks = own.masks.view;
  if (!packed) {
    Weights<T> weights = call.weights[size_t(index)];
    if (const cpu::Mask<T>& mask = own.masks.weight_hh.view; mask.bits) {
      own.weight_hh = Buffer<T>(product(weight_rows, shape.hidden));
      mask_matrix(mask, weight_rows, shape.hidden, weights.hh, own.weight_hh.get(), call.threads);
      weights.hh = own.weight_hh.get();
    }
    to.packed = pack_direction<T, E>(cell, weights, shape, layer, call.threads);
    packed = &to.packed;
  }
  for (int s = 0; s < op.segments; ++s) op.input[s].b = packed->input[s].get();
  op.recurrent = packed->recurrent.get();
  op.bias = packed->bias.get();
  op.state_ld = tape.state_ld;
  const int64_t block = shape.batch * shape.hidden;
  for (int s = 0; s < cell.states; ++s) {
    op.keep[s] = call.need_grad || (s == 0 && !last);
    const int64_t rows = op.keep[s] ? tape.state_rows() : product(3, shape.batch);
    own.state[s] = Buffer<T>(product(rows, tape.state_ld));
    op.state[s] = own.state[s].get();
    const T* initial = call.initial[s] ? call.initial[s] + index * block : nullptr;
    gather_rows(initial, schedule, shape.hidden, op.state[s], op.state_ld);
  }
  const int64_t h_rows = op.keep[0] ? tape.state_rows() : product(3, shape.batch);
  T* h = op.state[0];  // as products read it
  if (const cpu::Mask<T>& mask = op.masks.state; mask.bits) {
    own.masked_h = Buffer<T>(product(h_rows, op.state_ld));
    op.masked_h = own.masked_h.get();
    for (int64_t r = 0; r < shape.batch; ++r) {
      kernels<T>().mask_row(mask, r, r, shape.hidden, h + r * op.state_ld,
                            op.masked_h + r * op.state_ld);
    }
    h = op.masked_h;
  }
  if constexpr (kSame) {
    op.h = h;
    op.h_ld = op.state_ld;
  } else {
    own.h = Buffer<E>(product(h_rows, tape.h_pairs_ld));
    op.h = own.h.get();
    op.h_ld = tape.h_pairs_ld;
    kernels<T>().to_pairs(h, op.state_ld, shape.batch, shape.hidden, op.h, op.h_ld);
  }
  if (call.need_grad) {
    own.gates = Buffer<T>(product(schedule.rows(), cell.tape, tape.state_ld));
    op.tape = own.gates.get();
    op.tape_ld = tape.state_ld;
  }
  if (cell.layer_norm) prepare_norms(call, tape, call.weights[size_t(index)], own, to);
  if (cell.diagonal) {
    op.diagonal = own.weight_hh.get() ? own.weight_hh.get() : call.weights[size_t(index)].hh;
  }
  if (last) {
    op.y = {call.y + d * shape.hidden, shape.directions * shape.hidden, schedule.slots()};
    return;
  }
  if (op.masks.output.bits) {
    own.output = Buffer<T>(product(schedule.rows(), op.state_ld));
    op.y = {own.output.get(), op.state_ld, nullptr};
  }
  if constexpr (!kSame) {
    // What the layer above reads, where that is not what this one's own product does.
    if (op.masks.output.bits || op.masks.state.bits) {
      own.output_pairs = Buffer<E>(product(schedule.rows(), op.h_ld));
      op.y_operands = own.output_pairs.get();
    }
  }
}

template <class T, class E>
void take_plan(const Tape<T>& tape, const Plan& plan, const cpu::Shares& shares,
               Direction<T, E>& to) {
  const cpu::CellKernels<T>& cell = *tape.cell;
  cpu::LayerForward<T, E>& op = to.op;
  op.shares = shares;
  if (cell.layer_norm) {
    const int64_t rows = plan.by_rows ? plan.workers : op.batch;
    to.gate_rows = Buffer<T>(product(rows, op.gate_rows_ld));
    op.gate_rows = to.gate_rows.get();
    return;
  }
  if (!plan.input_ahead) return;
  op.product_ld =
      panels_of(op.hidden, cell.panel_units) * cell.panel_units * (cell.gates + cell.split);
  op.product_rows = rows_ahead(tape, op.product_ld, 1);
  to.product = Buffer<T>(product(op.product_rows, op.product_ld));
  op.input_product = to.product.get();
}

template <class T, class E>
void copy_final(const ForwardCall<T>& call, const Tape<T>& tape, int index,
                const cpu::LayerForward<T, E>& op) {
  const Shape& shape = call.shape;
  const Schedule& schedule = tape.schedule;
  for (int s = 0; s < tape.cell->states; ++s) {
    for (int64_t r = 0; r < shape.batch; ++r) {
      int64_t row = schedule.last_row(r, op.reverse);
      if (!op.keep[s] && row >= shape.batch) {  // two blocks in turn: by the number of the step
        row = shape.batch + (schedule.length[r] - 1) % 2 * shape.batch + r;
        if (op.reverse) row = shape.batch + (schedule.times - 1) % 2 * shape.batch + r;
      }
      std::memcpy(call.final[s] + (index * shape.batch + schedule.order[r]) * shape.hidden,
                  op.state[s] + row * op.state_ld, size_t(shape.hidden) * sizeof(T));
    }
  }
}

template <class T, class E>
LayerCost cost_of(const Tape<T>& tape, int layer) {
  const cpu::CellKernels<T>& cell = *tape.cell;
  const int64_t depth = tape.input_of(layer) + (cell.diagonal ? 0 : tape.shape.hidden);
  const int64_t hidden = tape.shape.hidden, sent = (cell.layer_norm ? 1 + cell.gates : 1) * hidden;
  const int barriers = cell.diagonal ? 0 : 1 + cell.layer_norm + cell.inner;  // one for each norm
  return {panels_of(hidden, cell.panel_units),     depth * hidden * cell.gates, sent,
          int64_t(sizeof(E)) / cpu::kNumbersIn<E>, kernels<T>().lanes,          barriers};
}

template <class T, class E>
void forward_layer(const ForwardCall<T>& call, Tape<T>& tape, int layer) {
  const Shape& shape = call.shape;
  Direction<T, E> direction[2];
  for (int d = 0; d < shape.directions; ++d) prepare(call, tape, layer, d, direction[d]);
  run_directions(
      tape.schedule, cost_of<T, E>(tape, layer), call.threads, direction, shape.directions,
      [&](Direction<T, E>& one, const Plan& plan, const cpu::Shares& shares) {
        take_plan(tape, plan, shares, one);
      },
      [&](const Direction<T, E>& one, Worker& worker) {
        with_operands<E>(*tape.cell).forward(one.op, worker);
      });
  for (int d = 0; d < shape.directions; ++d) {
    copy_final(call, tape, layer * shape.directions + d, direction[d].op);
  }
}

// A layer and the one above it at the same time, if that is expected to be faster.
template <class T, class E>
bool forward_in_step(const ForwardCall<T>& call, Tape<T>& tape, int layer) {
  if (call.threads < 2 || call.shape.directions > 1 || layer + 1 >= call.shape.layers) return false;
  if (!keeps_pace(*tape.cell)) return false;
  Plan alone[2], whole[2];
  for (int i = 0; i < 2; ++i) {
    const LayerCost cost = cost_of<T, E>(tape, layer + i);
    alone[i] = make_plan(tape.schedule, cost, 1);
    whole[i] = make_plan(tape.schedule, cost, call.threads);
  }
  if (!in_step(alone[0], alone[1], whole[0], whole[1])) return false;
  Direction<T, E> both[2];
  for (int i = 0; i < 2; ++i) {
    prepare(call, tape, layer + i, 0, both[i]);
    take_plan(tape, alone[i], {}, both[i]);
    both[i].op.pace = i == 0 ? cpu::Pace::kLead : cpu::Pace::kFollow;
  }
  cpu::LayerForward<T, E>& follow = both[1].op;
  follow.product_rows =
      std::min(follow.product_rows, std::max(call.shape.batch, tape.schedule.rows() / kLag));
  run_both(1, both[0], both[1], [&](const Direction<T, E>& one, Worker& worker) {
    with_operands<E>(*tape.cell).forward(one.op, worker);
  });
  for (int i = 0; i < 2; ++i) copy_final(call, tape, layer + i, both[i].op);
  return true;
}

template <class T, class E>
void forward_stack(const ForwardCall<T>& call, Tape<T>& tape) {
  for (int layer = 0; layer < call.shape.layers;) {
    const int first = layer;
    if (forward_in_step<T, E>(call, tape, layer)) {
      layer += 2;
    } else {
      forward_layer<T, E>(call, tape, layer++);
    }
    for (int below = std::max(0, first - 1); !call.need_grad && below < layer - 1; ++below) {
      for (int d = 0; d < call.shape.directions; ++d) tape.at(below, d) = {};  // not read again
    }
  }
}

}  // namespace

template <class T>
std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>& call) {
  const int lanes = kernels<T>().lanes;
  auto tape = std::make_shared<Tape<T>>();
  tape->cell = &cell_kernels<T>(call.cell);
  tape->shape = call.shape;
  tape->batch_first = call.batch_first;
  tape->schedule =
      make_schedule(call.shape.times, call.shape.batch, call.lengths, call.batch_first);
  tape->state_ld = padded_row<T>(call.shape.hidden, lanes);
  tape->weights = call.weights;
  tape->layers.resize(size_t(call.shape.layers * call.shape.directions));
  tape->frozen = call.packed != nullptr;
  if (call.need_grad && !tape->frozen) {
    tape->fingerprint = weights_fingerprint(call.weights, call.shape, *tape->cell, call.threads);
  }
  tape->bf16 = sizeof(T) == 4 && call.bf16;
  if (call.need_grad || !tape->bf16 || call.dropout.input > 0) take_input(call, *tape, lanes);
  if constexpr (sizeof(T) == 4) {
    if (tape->bf16) {
      take_pairs(call, *tape, lanes);
      forward_stack<T, cpu::Bf16Pair>(call, *tape);
      tape->x_pairs = {};  // the backward pass makes its own operands
      for (LayerTape<T>& layer : tape->layers) {
        layer.h = {};
        layer.output_pairs = {};
      }
    }
  }
  if (!tape->bf16) forward_stack<T, T>(call, *tape);
  zero_padding(*tape, call.y, call.shape.directions * call.shape.hidden);
  return call.need_grad ? tape : nullptr;
}

template std::shared_ptr<const Tape<float>> forward(const ForwardCall<float>&);
template std::shared_ptr<const Tape<double>> forward(const ForwardCall<double>&);

}  // namespace normrnn
