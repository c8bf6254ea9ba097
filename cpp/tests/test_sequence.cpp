// Gradients against finite differences in double, and bits against the number of threads.
#include <cmath>

#include "problem.h"

namespace normrnn::test {
namespace {

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
