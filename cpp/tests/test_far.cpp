// Rows more than 2^31 elements apart: what a batch of sequences needs in hundreds of gigabytes, in
// memory of which only those rows exist. Places held in 32 bits would be negative there, or those of
// other rows (the overflow of pytorch#191924). test_schedule.cpp counts such rows; here the kernels
// go to them, and every result must have the bits that it has of rows side by side.
#include "far.h"

#include <algorithm>

#include "check.h"
#include "normrnn/registry.h"
#include "packing.h"

namespace normrnn::test {
namespace {

using cpu::ColumnBlock;

constexpr int64_t kTimes = 3, kBatch = 4, kInputs = 3, kHidden = 19;
constexpr int64_t kOffset[] = {0, 4, 7, 9};  // first packed row of each step: lengths 3 3 2 1
constexpr int64_t kRows = kOffset[kTimes];

// A layer's forward and backward pass and the products after it, one kernel after the other.
template <class T>
class Run {
 public:
  Run(const std::string& name, bool reverse, bool far)
      : cell_(cell_kernels<T>(name)),
        reverse_(reverse),
        x_(kRows, kInputs, stride(kRows, kInputs, far)),
        y_(kRows, kHidden, stride(kRows, kHidden, far)),
        dy_(kRows, kHidden, y_.ld),
        dx_(kRows, kInputs, x_.ld),
        d_state_(cell_.states * kBatch, kHidden, stride(cell_.states * kBatch, kHidden, far)),
        h_(kBatch + kRows, kHidden, d_state_.ld),
        c_(kBatch + kRows, kHidden, d_state_.ld),
        tape_(tape_rows(), kHidden, stride(tape_rows(), kHidden, far)),
        d_gates_(kRows, all_gates(), stride(kRows, all_gates(), far)),
        weights_{draw<T>(rng_, gates() * kInputs), draw<T>(rng_, gates() * kHidden),
                 draw<T>(rng_, gates()), draw<T>(rng_, gates())} {
    for (SparseRows<T>* rows : {&x_, &dy_, &h_, &c_, &d_state_}) {
      rows->fill(draw<T>(rng_, rows->rows * rows->width));
    }
    // The caller's rows stand in another order than the packed ones.
    for (int64_t i = 0; i < kRows; ++i) slot_.push_back(kRows - 1 - i);
  }

  std::vector<T> results() {
    forward();
    backward();
    std::vector<T> all = products();
    for (SparseRows<T>* rows : {&y_, &dx_, &h_, &c_, &tape_, &d_state_, &d_gates_}) {
      rows->append_to(all);
    }
    return all;
  }

 private:
  static int64_t stride(int64_t rows, int64_t width, bool far) {
    return far ? far_stride(rows) : panels_of(width, 16) * 16;
  }
  int64_t tape_rows() const { return kRows * std::max(1, cell_.tape); }  // some cells need none
  int64_t gates() const { return cell_.gates * kHidden; }
  int64_t all_gates() const { return (cell_.gates + cell_.split) * kHidden; }

  // What an op is told in either direction of time.
  template <class Op>
  void place(Op& op) {
    op.hidden = kHidden;
    op.batch = kBatch;
    op.times = kTimes;
    op.offset = kOffset;
    op.reverse = reverse_;
    op.state[0] = h_.row(0);
    op.state[1] = c_.row(0);
    op.state_ld = h_.ld;
    op.tape = tape_.row(0);
    op.tape_ld = tape_.ld;
    op.shares = {kShares, true};
  }

  void forward() {
    const Weights<T> weights{weights_[0].data(), weights_[1].data(), weights_[2].data(),
                             weights_[3].data()};
    const PackedForward<T, T> packed =
        pack_direction<T, T>(cell_, weights, {kTimes, kBatch, kInputs, kHidden, 1, 1}, 0, 1);
    cpu::LayerForward<T, T> op{};
    place(op);
    op.segments = 1;
    op.input[0] = {x_.row(0), x_.ld, kInputs, packed.input[0].get()};
    op.recurrent = packed.recurrent.get();
    op.bias = packed.bias.get();
    op.keep[0] = op.keep[1] = true;
    op.h = op.state[0];
    op.h_ld = op.state_ld;
    op.y = {y_.row(0), y_.ld, slot_.data()};
    run_parallel(1, [&](Worker& worker) { cell_.same.forward(op, worker); });
  }

  void backward() {
    const cpu::Kernels<T>& kernel = kernels<T>();
    const int64_t panels = panels_of(kHidden, kernel.panel_width);
    ColumnBlock block[kMaxGates];
    for (int g = 0; g < cell_.gates; ++g) block[g] = {g * kHidden, g * kHidden, kHidden};
    Buffer<T> recurrent(panels * kernel.panel_width * gates());
    kernel.same.pack(weights_[1].data(), kHidden, block, cell_.gates, gates(), kHidden, 0, panels,
                     recurrent.get());
    Buffer<double> norm_parts(kRows * panels);
    cpu::LayerBackward<T, T> op{};
    place(op);
    op.recurrent = recurrent.get();
    op.dy = {dy_.row(0), dy_.ld, slot_.data()};
    op.d_state = d_state_.row(0);
    op.d_gates = op.operands = d_gates_.row(0);
    op.gates_ld = op.operands_ld = d_gates_.ld;
    op.gate_operands = kHidden;
    op.norm_parts = norm_parts.get();
    run_parallel(1, [&](Worker& worker) { cell_.same.backward(op, worker); });
  }

  // dW and db, and dx of the gates as they stand in d_gates.
  std::vector<T> products() {
    const cpu::Kernels<T>& kernel = kernels<T>();
    std::vector<T> d_weight(static_cast<size_t>(gates() * (kHidden + 1)));
    cpu::Outer<T> outer{};
    outer.rows = kRows;
    outer.a = d_gates_.row(0) + cell_.split * kHidden;
    outer.a_ld = d_gates_.ld;
    outer.block[0] = {0, 0, gates()};
    outer.blocks = 1;
    outer.b = h_.row(0);
    outer.b_ld = h_.ld;
    outer.map = slot_.data();  // any rows will do
    outer.columns = kHidden;
    outer.c = d_weight.data();
    outer.c_ld = kHidden;
    outer.sums = d_weight.data() + gates() * kHidden;
    run_outer(kernel.same, &outer, 1, 1);

    const int64_t panels = panels_of(kInputs, kernel.panel_width);
    const ColumnBlock whole{0, 0, gates()};
    Buffer<T> input(panels * kernel.panel_width * gates());
    kernel.same.pack(weights_[0].data(), kInputs, &whole, 1, gates(), kInputs, 0, panels,
                     input.get());
    cpu::MatMul<T, T> product{};
    product.rows = kRows;
    product.columns = kInputs;
    product.segments = 1;
    product.segment[0] = {d_gates_.row(0), d_gates_.ld, gates(), input.get()};
    product.c = {dx_.row(0), dx_.ld, slot_.data()};
    run_parallel(1, [&](Worker& worker) { kernel.same.matmul(product, worker); });
    return d_weight;
  }

  static constexpr int64_t kShares[] = {0, kBatch};
  const cpu::CellKernels<T>& cell_;
  const bool reverse_;
  std::mt19937_64 rng_{5};
  SparseRows<T> x_, y_, dy_, dx_, d_state_, h_, c_, tape_, d_gates_;
  std::vector<T> weights_[4];
  std::vector<int64_t> slot_;
};

template <class T>
void check(const char* cell, bool reverse) {
  const bool same = Run<T>(cell, reverse, true).results() == Run<T>(cell, reverse, false).results();
  if (!same) std::printf("%s%s of %zu bytes:\n", cell, reverse ? ", reverse" : "", sizeof(T));
  CHECK(same);
}

void tests() {
  for (const char* cell : {"rnn_tanh", "gru", "lstm"}) {
    for (const bool reverse : {false, true}) {
      check<float>(cell, reverse);
      check<double>(cell, reverse);
    }
  }
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
