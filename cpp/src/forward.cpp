// Forward pass of a stack: layer by layer, direction by direction.
#include <algorithm>

#include "sequence.h"

namespace normrnn {

// Weights of one direction of one layer, packed for the forward pass.
template <class T>
struct PackedForward {
  Buffer<T> input[kMaxSegments], recurrent, bias;
};

template <class T>
class PackedWeights {
 public:
  std::vector<PackedForward<T>> directions;  // [L*D]
};

namespace {

// k: [segments] columns of weight_ih that belong to each segment of the input.
template <class T>
PackedForward<T> pack_direction(const cpu::CellKernels<T>& cell, const Weights<T>& w,
                                int64_t hidden, const int64_t* k, int segments, int threads) {
  const int64_t panels = panels_of(hidden, cell.panel_units);
  const int64_t width = cell.panel_units * cell.gates;
  PackedForward<T> packed;
  int64_t ld = 0;
  for (int s = 0; s < segments; ++s) {
    packed.input[s] = Buffer<T>(product(panels, width, k[s]));
    ld += k[s];
  }
  packed.recurrent = Buffer<T>(product(panels, width, hidden));
  packed.bias = Buffer<T>(panels * cell.panel_units * (cell.gates + cell.split));
  cell.pack_bias(w.b_ih, w.b_hh, hidden, packed.bias.get());
  parallel_for(threads, panels, panels * width * (ld + hidden), [&](int64_t p) {
    const T* from = w.ih;
    for (int s = 0; s < segments; ++s) {
      cell.pack_input(from, ld, k[s], hidden, p, p + 1, packed.input[s].get());
      from += k[s];
    }
    cell.pack_recurrent(w.hh, hidden, hidden, hidden, p, p + 1, packed.recurrent.get());
  });
  return packed;
}

template <class T>
PackedForward<T> pack_direction(const cpu::CellKernels<T>& cell, const Weights<T>& w,
                                const Shape& shape, int layer, int threads) {
  const int64_t first[] = {shape.input}, above[] = {shape.hidden, shape.hidden};
  return pack_direction(cell, w, shape.hidden, layer ? above : first, layer ? shape.directions : 1,
                        threads);
}

// The input as packed rows: the caller's memory where that is already so, else a copy. A tape
// always has its own, so that the caller may reuse x.
template <class T>
void take_input(const ForwardCall<T>& call, Tape<T>& tape, int lanes) {
  const int64_t width = call.shape.input, rows = tape.schedule.rows();
  const int64_t ld = padded_row<T>(width, lanes);
  const bool in_place =
      !call.need_grad && tape.schedule.slot.empty() && width * int64_t(sizeof(T)) % 1024 != 0;
  if (in_place) {
    tape.x = {call.x, width, nullptr};
    return;
  }
  tape.x_copy = Buffer<T>(product(rows, ld));
  tape.x = {tape.x_copy.get(), ld, nullptr};
  const int64_t* slot = tape.schedule.slots();
  constexpr int64_t kChunk = 64;
  parallel_for(call.threads, panels_of(rows, kChunk), rows * ld, [&](int64_t chunk) {
    for (int64_t i = chunk * kChunk; i < std::min(rows, (chunk + 1) * kChunk); ++i) {
      std::memcpy(tape.x_copy.get() + i * ld, call.x + (slot ? slot[i] : i) * width,
                  size_t(width) * sizeof(T));
    }
  });
}

// One direction of one layer, with the memory that its pass needs.
template <class T>
struct Direction {
  cpu::LayerForward<T> op{};
  PackedForward<T> packed;
  Buffer<T> product;
};

template <class T>
void prepare(const ForwardCall<T>& call, Tape<T>& tape, int layer, int d, Direction<T>& to) {
  const cpu::CellKernels<T>& cell = *tape.cell;
  const Shape& shape = call.shape;
  const Schedule& schedule = tape.schedule;
  const int index = layer * shape.directions + d;
  LayerTape<T>& own = tape.at(layer, d);

  cpu::LayerForward<T>& op = to.op;
  op.hidden = shape.hidden;
  op.batch = shape.batch;
  op.times = schedule.times;
  op.offset = schedule.offset.data();
  op.reverse = d == 1;
  op.segments = tape.inputs(layer, op.input);
  if (!call.packed) {
    to.packed = pack_direction(cell, call.weights[index], shape, layer, call.threads);
  }
  const PackedForward<T>& packed = call.packed ? call.packed->directions[size_t(index)] : to.packed;
  for (int s = 0; s < op.segments; ++s) op.input[s].b = packed.input[s].get();
  op.recurrent = packed.recurrent.get();
  op.bias = packed.bias.get();
  op.state_ld = tape.state_ld;
  const bool last = layer == shape.layers - 1;
  const int64_t block = shape.batch * shape.hidden;
  for (int s = 0; s < cell.states; ++s) {
    op.keep[s] = call.need_grad || (s == 0 && !last);
    const int64_t rows = op.keep[s] ? tape.state_rows() : product(3, shape.batch);
    own.state[s] = Buffer<T>(product(rows, tape.state_ld));
    op.state[s] = own.state[s].get();
    const T* initial = call.initial[s] ? call.initial[s] + index * block : nullptr;
    gather_rows(initial, schedule, shape.hidden, op.state[s], op.state_ld);
  }
  if (call.need_grad) {
    own.gates = Buffer<T>(product(schedule.rows(), cell.tape, tape.state_ld));
    op.tape = own.gates.get();
    op.tape_ld = tape.state_ld;
  }
  if (last) {
    op.y = {call.y + d * shape.hidden, shape.directions * shape.hidden, schedule.slots()};
  }
}

// Room for U x of as many steps as stay in a core's cache, and of at least a few tiles.
template <class T>
void take_plan(const Tape<T>& tape, const Plan& plan, Direction<T>& to) {
  constexpr int64_t kBytes = 1 << 18, kFewestRows = 48;
  cpu::LayerForward<T>& op = to.op;
  op.row_begin = plan.rows();
  if (!plan.input_ahead) return;
  const cpu::CellKernels<T>& cell = *tape.cell;
  op.product_ld =
      panels_of(op.hidden, cell.panel_units) * cell.panel_units * (cell.gates + cell.split);
  const int64_t fitting = kBytes / (op.product_ld * int64_t(sizeof(T)));
  op.product_rows = std::min(tape.schedule.rows(), std::max({op.batch, kFewestRows, fitting}));
  to.product = Buffer<T>(product(op.product_rows, op.product_ld));
  op.input_product = to.product.get();
}

template <class T>
void copy_final(const ForwardCall<T>& call, const Tape<T>& tape, int index,
                const cpu::LayerForward<T>& op) {
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

template <class T>
void forward_layer(const ForwardCall<T>& call, Tape<T>& tape, int layer) {
  const cpu::CellKernels<T>& cell = *tape.cell;
  const Shape& shape = call.shape;
  Direction<T> direction[2];
  for (int d = 0; d < shape.directions; ++d) prepare(call, tape, layer, d, direction[d]);
  const int64_t depth = tape.input_of(layer) + shape.hidden;
  const LayerCost cost{panels_of(shape.hidden, cell.panel_units), depth * shape.hidden * cell.gates,
                       sizeof(T), kernels<T>().lanes};
  run_directions(
      tape.schedule, cost, call.threads, direction, shape.directions,
      [&](Direction<T>& one, const Plan& plan) { take_plan(tape, plan, one); },
      [&](const Direction<T>& one, Worker& worker) { cell.forward(one.op, worker); });
  for (int d = 0; d < shape.directions; ++d) {
    copy_final(call, tape, layer * shape.directions + d, direction[d].op);
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
    tape->fingerprint =
        weights_fingerprint(call.weights, call.shape, tape->cell->gates, call.threads);
  }
  take_input(call, *tape, lanes);
  for (int layer = 0; layer < call.shape.layers; ++layer) {
    forward_layer(call, *tape, layer);
    for (int d = 0; !call.need_grad && layer && d < call.shape.directions; ++d) {
      tape->at(layer - 1, d) = {};  // read for the last time
    }
  }
  zero_padding(*tape, call.y, call.shape.directions * call.shape.hidden);
  return call.need_grad ? tape : nullptr;
}

template <class T>
std::shared_ptr<const PackedWeights<T>> pack_weights(const std::string& cell, const Shape& shape,
                                                     const std::vector<Weights<T>>& weights,
                                                     int threads) {
  auto packed = std::make_shared<PackedWeights<T>>();
  for (size_t i = 0; i < weights.size(); ++i) {
    packed->directions.push_back(pack_direction(cell_kernels<T>(cell), weights[i], shape,
                                                int(i) / shape.directions, threads));
  }
  return packed;
}

template std::shared_ptr<const PackedWeights<float>> pack_weights(
    const std::string&, const Shape&, const std::vector<Weights<float>>&, int);
template std::shared_ptr<const PackedWeights<double>> pack_weights(
    const std::string&, const Shape&, const std::vector<Weights<double>>&, int);
template std::shared_ptr<const Tape<float>> forward(const ForwardCall<float>&);
template std::shared_ptr<const Tape<double>> forward(const ForwardCall<double>&);

}  // namespace normrnn
