// A whole problem for tests of networks: sizes, arrays and options drawn from a seed, and calls of
// the core on them.
#pragma once

#include <cmath>
#include <limits>

#include "check.h"
#include "normrnn/api.h"
#include "normrnn/registry.h"

namespace normrnn::test {

// Sizes, arrays, and the loss <dy, y> + sum over states <d_final, final>.
template <class T>
struct Problem {
  std::string cell;
  Shape shape;
  bool batch_first;
  bool bf16 = false;
  std::vector<StatePenalty> penalties;  // of every direction of every layer
  double clip_state = std::numeric_limits<double>::infinity();
  Dropout dropout;
  std::vector<int64_t> lengths;
  CellFacts facts;
  int states = 0;
  std::vector<ParameterKind> kinds;
  std::vector<std::vector<T>> weights;  // kind by kind, of each layer and direction
  std::vector<T> x, dy;
  std::vector<std::vector<T>> initial, d_final;

  Problem(const std::string& name, Shape s, bool first, std::vector<int64_t> given, int seed)
      : cell(name), shape(s), batch_first(first), lengths(std::move(given)) {
    facts = cells()[size_t(index_of("cell", cell_names(), name))];
    states = facts.states;
    kinds = kinds_of(facts, true);
    std::mt19937_64 rng(static_cast<uint64_t>(seed));
    for (int i = 0; i < s.layers * s.directions; ++i) {
      const int64_t inputs = i < s.directions ? s.input : s.directions * s.hidden;
      for (const ParameterKind kind : kinds) {
        int64_t count = 1;
        for (const int64_t length : shape_of(facts, kind, inputs, s.hidden)) count *= length;
        weights.push_back(draw<T>(rng, count));
      }
    }
    x = draw<T>(rng, s.times * s.batch * s.input);
    dy = draw<T>(rng, s.times * s.batch * s.directions * s.hidden);
    for (int i = 0; i < states; ++i) {
      initial.push_back(draw<T>(rng, state_size()));
      d_final.push_back(draw<T>(rng, state_size()));
    }
  }

  int64_t state_size() const {
    return shape.layers * shape.directions * shape.batch * shape.hidden;
  }

  template <class Set, class Arrays>
  std::vector<Set> sets(Arrays& arrays) const {
    std::vector<Set> all;
    static constexpr decltype(&Set::ih) kMembers[kKinds] = {
        &Set::ih,      &Set::hh,      &Set::b_ih,   &Set::b_hh,
        &Set::gain_ih, &Set::gain_hh, &Set::gain_c, &Set::b_c};
    for (size_t i = 0; i < arrays.size();) {
      Set one;
      for (const ParameterKind kind : kinds) one.*kMembers[int(kind)] = arrays[i++].data();
      all.push_back(one);
    }
    return all;
  }

  struct Forward {
    std::vector<T> y;
    std::vector<std::vector<T>> final;
    std::shared_ptr<const Tape<T>> tape;
  };

  // A call that puts its results into `out`.
  ForwardCall<T> forward_call(Forward& out, bool need_grad) const {
    out.y.resize(dy.size());
    out.final.assign(static_cast<size_t>(states), std::vector<T>(state_size()));
    ForwardCall<T> call;
    call.cell = cell;
    call.shape = shape;
    call.weights = sets<Weights<T>>(weights);
    call.x = x.data();
    call.batch_first = batch_first;
    call.lengths = lengths.empty() ? nullptr : lengths.data();
    for (int i = 0; i < states; ++i) {
      call.initial.push_back(initial[i].data());
      call.final.push_back(out.final[i].data());
    }
    call.y = out.y.data();
    call.need_grad = need_grad;
    call.bf16 = bf16;
    call.dropout = dropout;
    return call;
  }

  Forward forward(int threads, bool need_grad) const {
    Forward out;
    ForwardCall<T> call = forward_call(out, need_grad);
    call.threads = threads;
    out.tape = normrnn::forward(call);
    return out;
  }

  double loss() const {
    const Forward out = forward(1, false);
    double sum = 0;
    for (size_t i = 0; i < dy.size(); ++i) sum += double(dy[i]) * double(out.y[i]);
    for (int s = 0; s < states; ++s) {
      for (int64_t i = 0; i < state_size(); ++i) sum += double(d_final[s][i]) * out.final[s][i];
    }
    return sum;
  }

  struct Backward {
    std::vector<std::vector<T>> weights, initial;
    std::vector<T> x, h_norm, h_norm_clipped;
    double penalty = 0;
    bool operator==(const Backward&) const = default;
  };

  // A call that puts its results into `d`.
  BackwardCall<T> backward_call(Backward& d) const {
    d = {weights, initial, x, {}, {}};
    const size_t runs = size_t(shape.layers * shape.directions);
    d.h_norm.resize(runs * size_t(shape.times));
    d.h_norm_clipped.resize(d.h_norm.size());
    BackwardCall<T> call;
    call.dy = dy.data();
    for (int i = 0; i < states; ++i) {
      call.d_final.push_back(d_final[i].data());
      call.d_initial.push_back(d.initial[i].data());
    }
    call.d = sets<WeightGradients<T>>(d.weights);
    call.dx = d.x.data();
    call.h_norm = d.h_norm.data();
    call.penalties.assign(runs, penalties);
    call.clip_state = clip_state;
    if (std::isfinite(clip_state)) call.h_norm_clipped = d.h_norm_clipped.data();
    return call;
  }

  Backward backward(const Tape<T>& tape, int threads) const {
    Backward d;
    BackwardCall<T> call = backward_call(d);
    call.threads = threads;
    d.penalty = normrnn::backward(tape, call);
    return d;
  }
};

// What a cell can have of it.
inline Dropout every_kind(const std::string& cell) {
  Dropout dropout{.input = 0.1, .output = 0.2, .between = 0.1, .state = 0.2, .weight = 0.1};
  dropout.zoneout[0] = dropout.zoneout[1] = 0.1;
  dropout.seed = 3;
  for (const CellFacts& facts : cells()) {
    if (facts.name == cell && facts.candidate) dropout.candidate = 0.2;
  }
  return dropout;
}

}  // namespace normrnn::test
