// A simulated block: the weights of its own slice in the registers of its lanes, and the operand
// that others have sent it. Of the network it reads what a kernel would read from memory for its
// own units and rows of the batch (U x, initial states, tape, dy), and writes there what belongs to
// it.
#pragma once

// The cells on plain double.
#define NORMRNN_TARGET simulated
#define NORMRNN_VECTOR_BYTES 16
#include "elementary.h"
namespace normrnn::simulated {
inline double sigmoid(double x) { return 1 / (1 + __builtin_exp(-x)); }
inline double tanh(double x) { return __builtin_tanh(x); }
}  // namespace normrnn::simulated
#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"
//
#include <limits>

#include "cuda/plan/persistent.h"
#include "plain_network.h"
#include "simulated_grid.h"

namespace normrnn::test {

// What the blocks of a grid leave in memory; NaN until somebody writes it.
struct Results {
  std::vector<double> h, c, tape, d_pre, d_rec, dh_0, dc_0;
  explicit Results(const PlainNetwork& like) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    h.assign(like.h.size(), nan);
    c = h;
    tape.assign(like.tape.size(), nan);
    d_pre.assign(like.d_pre.size(), nan);
    d_rec = d_pre;
    dh_0.assign(like.dh_0.size(), nan);
    dc_0 = dh_0;
  }
};

struct NoDrop {
  static constexpr bool kMasked = false;
  double operator()(double v) const { return v; }
};

// What both passes have.
template <class Cell>
class SimulatedBlock {
 public:
  static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

  // rows: of the batch, those of the block's group; values: of a word.
  SimulatedBlock(const PlainNetwork& net, Results& results, const plan::Slicing& slicing,
                 int64_t block, plan::Range rows, int values, Interleaver& grid)
      : net_(net),
        results_(results),
        slicing_(slicing),
        rows_(rows),
        grid_(grid),
        own_{slicing.product, slicing.units_of(block), rows.size(), values},
        all_{slicing.product, {0, net.hidden}, rows.size(), values} {
    const plan::Range granules = slicing.granules_of(block);
    for (int64_t g = 0; g < granules.size(); ++g) {
      for (int tile = 0; tile < slicing.rows().tiles(); ++tile) {
        for (int64_t step = 0; step < slicing.depth_steps(); ++step) load(block, g, tile, step);
      }
    }
    const int64_t padded_units = granules.size() * slicing.granule;
    sums_.resize(size_t(padded_units * slicing.product.row_gates() * rows.size()));
    operand_.resize(size_t(rows.size() * depth()));
    d_state_.resize(size_t(2 * rows.size() * own_.units.size()));
    out_ = operand_;  // only the block's own words are ever used
    forget();
  }

  int rank() const { return 0; }
  int threads() const { return 1; }
  int outgoing() const { return int(own_.count()); }
  int incoming() const { return int(all_.count()); }
  int64_t outgoing_index(int i) const { return own_.index(own_.at(i)); }
  int64_t incoming_index(int i) const { return all_.index(all_.at(i)); }
  int64_t first_unit() const { return own_.units.begin; }
  void sync() { grid_.yield(); }
  void prefetch(int64_t) {}
  void expect(int64_t step) { step_ = step; }  // of the words to come

  Word word(int i) const {
    const plan::Words::At at = own_.at(i);
    Word word;
    for (int v = 0; v < own_.values; ++v) {
      word.value[v] = out_[size_t(at.row * depth() + at.place + v)];
    }
    word.step = step_;
    word.index = outgoing_index(i);
    return word;
  }
  void accept(int i, const Word& word) {
    const plan::Words::At at = all_.at(i);
    if (word.step != step_ || word.index != incoming_index(i)) {
      grid_.fail("race: a word of step " + std::to_string(word.step) + " in step " +
                 std::to_string(step_));
    }
    for (int v = 0; v < all_.values; ++v) {
      operand_[size_t(at.row * depth() + at.place + v)] = word.value[v];
    }
  }
  void product() {
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for (const Held& held : weights_) {
      for (int64_t row = 0; row < rows_.size(); ++row) {
        sums_[size_t(held.sum * rows_.size() + row)] +=
            held.weight * operand_[size_t(row * depth() + held.place)];
      }
    }
    forget();
  }

 protected:
  int64_t depth() const { return all_.product.depth(); }
  double sum(int gate, int64_t unit, int64_t row) const {  // unit of the block's own
    const int64_t gates = slicing_.product.row_gates();
    return sums_[size_t((unit * gates + gate) * rows_.size() + row)];
  }
  // Everything but padding is NaN until it is sent, at every step again.
  void forget() {
    for (int64_t row = 0; row < rows_.size(); ++row) {
      for (int64_t place = 0; place < depth(); ++place) {
        const bool padding = place % all_.product.padded() >= net_.hidden;
        operand_[size_t(row * depth() + place)] = padding ? 0 : kNaN;
      }
    }
  }
  template <class F>
  void each(F&& f) {  // row of the group, row of the batch, own unit, unit of the network
    for (int64_t row = 0; row < rows_.size(); ++row) {
      for (int64_t u = 0; u < own_.units.size(); ++u) {
        f(row, rows_.begin + row, u, own_.units.begin + u);
      }
    }
  }

  const PlainNetwork& net_;
  Results& results_;
  plan::Slicing slicing_;
  plan::Range rows_;
  Interleaver& grid_;
  plan::Words own_, all_;
  int64_t step_ = 0;  // number of the exchange under way
  std::vector<double> operand_, out_, d_state_;

 private:
  struct Held {
    double weight;
    int64_t place, sum;
  };

  // One tile: what every lane holds, and which row and column that is.
  void load(int64_t block, int64_t granule, int tile, int64_t step) {
    const plan::Engine engine = slicing_.engine;
    for (int part = 0; part < plan::tile_warps(engine); ++part) {
      for (int lane = 0; lane < plan::kLanesOfWarp; ++lane) {
        for (int value = 0; value < plan::lane_weights(engine); ++value) {
          const auto at = slicing_.weight({block, granule, tile, step, {part, lane, value}});
          if (at.row < 0) continue;
          const plan::Fragment f = plan::weight_of_lane(engine, part, lane, value);
          const plan::TileRows::Row row = slicing_.rows().row(tile, f.row);
          const int64_t unit = granule * slicing_.granule + row.unit;
          weights_.push_back({net_.w[size_t(at.row * net_.hidden + at.column)],
                              step * plan::tile_depth(engine) + f.column,
                              unit * slicing_.product.row_gates() + row.gate});
        }
      }
    }
  }

  std::vector<Held> weights_;
  std::vector<double> sums_;  // [own units, gates, rows]
};

template <class Cell>
class ForwardBlock : public SimulatedBlock<Cell> {
 public:
  using SimulatedBlock<Cell>::SimulatedBlock;
  static constexpr plan::Pass kPass = plan::Pass::kForward;

  void initial() {
    const PlainNetwork& net = this->net_;
    for (int64_t row = 0; row < this->rows_.size(); ++row) {
      for (int64_t u = 0; u < net.hidden; ++u) {
        this->operand_[size_t(row * this->depth() + u)] =
            net.h[size_t(net.at(0, this->rows_.begin + row, u))];
      }
    }
    state_.resize(size_t(2 * this->rows_.size() * this->own_.units.size()));
    this->each([&](int64_t row, int64_t b, int64_t u, int64_t unit) {
      state(row, u, 0) = net.h[size_t(net.at(0, b, unit))];
      state(row, u, 1) = net.c[size_t(net.at(0, b, unit))];
    });
  }
  void cell(int64_t t) {
    const PlainNetwork& net = this->net_;
    this->step_ = t;
    this->each([&](int64_t row, int64_t b, int64_t u, int64_t unit) {
      double pre[4], rec[4] = {}, prev[2], next[2] = {}, tape[5];
      for (int g = 0; g < Cell::kGates; ++g) {
        const double product = this->sum(g, u, row) + net.b_hh[size_t(g * net.hidden + unit)];
        pre[g] = net.ux[size_t(net.gate_at(t - 1, b, g, unit))];
        const int split = g - (Cell::kGates - Cell::kSplit);
        (split < 0 ? pre[g] : rec[split]) += product;
      }
      for (int s = 0; s < Cell::kStates; ++s) prev[s] = state(row, u, s);
      Cell::forward(pre, rec, prev, next, tape, NoDrop{});
      for (int s = 0; s < Cell::kStates; ++s) state(row, u, s) = next[s];
      this->out_[size_t(row * this->depth() + unit)] = next[0];
      for (int j = 0; j < Cell::kTape; ++j) {
        this->results_.tape[size_t(net.tape_at(t - 1, b, j, unit))] = tape[j];
      }
    });
  }
  void keep(int64_t t) {
    const PlainNetwork& net = this->net_;
    this->each([&](int64_t row, int64_t b, int64_t u, int64_t unit) {
      this->results_.h[size_t(net.at(t, b, unit))] = state(row, u, 0);
      this->results_.c[size_t(net.at(t, b, unit))] = state(row, u, 1);
    });
  }

 private:
  double& state(int64_t row, int64_t u, int s) {
    return state_[size_t((row * this->own_.units.size() + u) * 2 + s)];
  }
  std::vector<double> state_;
};

template <class Cell>
class BackwardBlock : public SimulatedBlock<Cell> {
 public:
  using SimulatedBlock<Cell>::SimulatedBlock;
  static constexpr plan::Pass kPass = plan::Pass::kBackward;

  void initial() {
    const PlainNetwork& net = this->net_;
    this->each([&](int64_t row, int64_t b, int64_t u, int64_t unit) {
      d_state(row, u, 0) = net.dh_n[size_t(b * net.hidden + unit)];
      d_state(row, u, 1) = net.dc_n[size_t(b * net.hidden + unit)];
    });
  }
  void product() {
    SimulatedBlock<Cell>::product();
    this->each([&](int64_t row, int64_t, int64_t u, int64_t) {
      d_state(row, u, 0) += this->sum(0, u, row);
    });
  }
  void cell(int64_t t) {
    const PlainNetwork& net = this->net_;
    this->step_ = net.times - t + 1;
    this->each([&](int64_t row, int64_t b, int64_t u, int64_t unit) {
      double prev[2], next[2], tape[5], d[2], d_pre[4], d_rec[4] = {};
      prev[0] = net.h[size_t(net.at(t - 1, b, unit))];
      prev[1] = net.c[size_t(net.at(t - 1, b, unit))];
      next[0] = net.h[size_t(net.at(t, b, unit))];
      next[1] = net.c[size_t(net.at(t, b, unit))];
      for (int j = 0; j < Cell::kTape; ++j)
        tape[j] = net.tape[size_t(net.tape_at(t - 1, b, j, unit))];
      for (int s = 0; s < 2; ++s) d[s] = d_state(row, u, s);
      d[0] += net.dy[size_t(net.at(t - 1, b, unit))];
      Cell::backward(tape, prev, next, d, d_pre, d_rec, NoDrop{});
      for (int s = 0; s < 2; ++s) d_state(row, u, s) = d[s];
      for (int g = 0; g < Cell::kGates; ++g) {
        const int split = g - (Cell::kGates - Cell::kSplit);
        const double rec = split < 0 ? d_pre[g] : d_rec[split];
        this->out_[size_t(row * this->depth() + this->own_.product.place(g, unit))] = rec;
        this->results_.d_pre[size_t(net.gate_at(t - 1, b, g, unit))] = d_pre[g];
        this->results_.d_rec[size_t(net.gate_at(t - 1, b, g, unit))] = rec;
      }
    });
  }
  void keep(int64_t) {}
  void finish() {
    this->each([&](int64_t row, int64_t b, int64_t u, int64_t unit) {
      this->results_.dh_0[size_t(b * this->net_.hidden + unit)] = d_state(row, u, 0);
      this->results_.dc_0[size_t(b * this->net_.hidden + unit)] = d_state(row, u, 1);
    });
  }

 private:
  double& d_state(int64_t row, int64_t u, int s) {
    return this->d_state_[size_t((row * this->own_.units.size() + u) * 2 + s)];
  }
};

}  // namespace normrnn::test
