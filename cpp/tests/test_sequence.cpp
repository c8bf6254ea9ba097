// Gradients against finite differences in double, and bits against the number of threads.
#include <cmath>
#include <limits>

#include "check.h"
#include "normrnn/api.h"
#include "normrnn/registry.h"

namespace normrnn::test {
namespace {

// A whole problem: sizes, arrays, and the loss <dy, y> + sum over states <d_final, final>.
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
  std::vector<Kind> kinds;
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
      for (const Kind kind : kinds) {
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
      for (const Kind kind : kinds) one.*kMembers[int(kind)] = arrays[i++].data();
      all.push_back(one);
    }
    return all;
  }

  struct Forward {
    std::vector<T> y;
    std::vector<std::vector<T>> final;
    std::shared_ptr<const Tape<T>> tape;
  };

  Forward forward(int threads, bool need_grad) const {
    Forward out;
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

  Backward backward(const Tape<T>& tape, int threads) const {
    Backward d{weights, initial, x, {}, {}};
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
    call.threads = threads;
    d.penalty = normrnn::backward(tape, call);
    return d;
  }
};

// What a cell can have of it.
Dropout every_kind(const std::string& cell) {
  Dropout dropout{.input = 0.1, .output = 0.2, .between = 0.1, .state = 0.2, .weight = 0.1};
  dropout.zoneout[0] = dropout.zoneout[1] = 0.1;
  dropout.seed = 3;
  for (const CellFacts& facts : cells()) {
    if (facts.name == cell && facts.candidate) dropout.candidate = 0.2;
  }
  return dropout;
}

// A few elements of one array: dL/d value by central differences against what backward says.
void check_array(Problem<double>& problem, std::vector<double>& values,
                 const std::vector<double>& gradient, const char* what) {
  const size_t stride = values.size() / 7 + 1;
  // A layer norm divides by the root of a variance, which is small now and then: the curvature,
  // and with it the error of a difference, is larger.
  const double tolerance = problem.facts.layer_norm ? 1e-5 : 1e-7;
  for (size_t i = 0; i < values.size(); i += stride) {
    constexpr double kStep = 1e-5;
    const double value = values[i];
    values[i] = value + kStep;
    const double above = problem.loss();
    values[i] = value - kStep;
    const double below = problem.loss();
    values[i] = value;
    check_close(gradient[i], (above - below) / (2 * kStep), tolerance, what);
  }
}

void check_gradients(const std::string& cell, Shape shape, bool batch_first,
                     const std::vector<int64_t>& lengths, bool drop = false) {
  Problem<double> problem(cell, shape, batch_first, lengths, 7);
  if (drop) problem.dropout = every_kind(cell);
  const auto out = problem.forward(1, true);
  const auto d = problem.backward(*out.tape, 1);
  for (size_t i = 0; i < problem.weights.size(); ++i) {
    check_array(problem, problem.weights[i], d.weights[i], "weights");
  }
  check_array(problem, problem.x, d.x, "x");
  for (int s = 0; s < problem.states; ++s) {
    check_array(problem, problem.initial[s], d.initial[s], "initial");
  }
}

template <class T>
void check_threads(const std::string& cell, Shape shape, const std::vector<int64_t>& lengths,
                   bool bf16 = false, bool penalties = false, bool drop = false) {
  Problem<T> problem(cell, shape, false, lengths, 11);
  problem.bf16 = bf16;
  if (drop) problem.dropout = every_kind(cell);
  if (penalties) {
    using Kind = StatePenaltyKind;
    for (const Kind kind :
         {Kind::kActivityL1, Kind::kActivityL2, Kind::kAr, Kind::kTar, Kind::kNormStabilizer}) {
      problem.penalties.push_back({kind, 0.1});
    }
    const CellFacts& facts = problem.facts;
    const bool elman = facts.gates == 1 && !facts.layer_norm && !facts.diagonal;
    if (elman && !drop) problem.penalties.push_back({Kind::kOmega, 0.1, false, 1e-20});
    problem.clip_state = 0.5;
  }
  for (std::vector<T>& weight : problem.weights) {  // or a long sequence of ReLUs ends in NaN
    for (T& w : weight) w /= T(std::sqrt(double(shape.hidden)));
  }
  const auto alone = problem.forward(1, true);
  const auto d_alone = problem.backward(*alone.tape, 1);
  for (const int threads : {2, 3, 7}) {
    const auto out = problem.forward(threads, true);
    CHECK(out.y == alone.y && out.final == alone.final);
    CHECK(problem.forward(threads, false).y == alone.y);
    CHECK(problem.backward(*alone.tape, threads) == d_alone);
  }
}

void tests() {
  for (const std::string& cell : cell_names()) {
    for (const int64_t hidden : {1, 5, 17}) {
      check_gradients(cell, {4, 3, 2, hidden, 1, 1}, false, {});
      check_gradients(cell, {5, 3, 2, hidden, 2, 2}, true, {2, 5, 3});
    }
    check_gradients(cell, {5, 4, 3, 8, 1, 2}, false, {0, 4, 4, 1});
    check_gradients(cell, {5, 3, 2, 17, 2, 2}, true, {2, 5, 3}, true);
    // Large enough for a team, splitting the batch and splitting the units.
    check_threads<float>(cell, {7, 64, 33, 65, 1, 2}, {});
    check_threads<float>(cell, {5, 3, 300, 310, 2, 1}, {});
    check_threads<double>(cell, {9, 30, 20, 64, 1, 2}, std::vector<int64_t>(30, 6));
    check_threads<float>(cell, {5, 3, 301, 307, 2, 1}, {}, true);
    // Small steps, long sequences: layers in step, directions side by side.
    check_threads<float>(cell, {150, 2, 5, 19, 3, 1}, {150, 40});
    check_threads<float>(cell, {150, 1, 5, 19, 2, 2}, {});
    check_threads<float>(cell, {150, 1, 5, 19, 2, 1}, {}, true);
    // With state penalties and a clip: by sequences, by units, layers in step, ragged.
    check_threads<float>(cell, {7, 64, 33, 65, 1, 2}, {}, false, true);
    check_threads<double>(cell, {5, 3, 300, 310, 2, 1}, {}, false, true);
    check_threads<float>(cell, {150, 2, 5, 19, 3, 1}, {150, 40}, false, true);
    check_threads<float>(cell, {5, 3, 301, 307, 2, 1}, {}, true, true);
    for (const bool bf16 : {false, true}) {
      check_threads<float>(cell, {7, 64, 33, 65, 2, 2}, {}, bf16, false, true);
      check_threads<float>(cell, {150, 2, 5, 19, 3, 1}, {150, 40}, bf16, true, true);
    }
  }
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
