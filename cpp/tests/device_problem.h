// Problems for the general path of devices: shapes, lengths and options drawn at random, and how
// closely its results on the host queue must agree with the CPU core's.
#pragma once

#include <string>

#include "host_queue.h"
#include "normrnn/cuda.h"
#include "problem.h"

namespace normrnn::test {

template <class T>
cuda::Precision precision_of(const Problem<T>& problem) {
  return problem.bf16 ? cuda::Precision::kBfloat16 : cuda::Precision::kFull;
}

// Relative to 1 + |expected|. float64: roundings of sums in another order. float32: the same, and
// elementary functions that differ by a few units in the last place. bfloat16: an operand that lies
// between two roundings may go either way. A layer norm divides by a standard deviation that may be
// small.
template <class T>
double tolerance_of(const Problem<T>& problem) {
  const double norm = problem.facts.layer_norm ? 30 : 1;
  if (sizeof(T) == 8) return 1e-12 * norm;
  return (problem.bf16 ? 2e-3 : 5e-6) * norm;
}

// Results to be, NaN until they are written.
template <class T>
typename Problem<T>::Forward poisoned(const Problem<T>& problem) {
  typename Problem<T>::Forward out;
  out.y.assign(problem.dy.size(), T(NAN));
  return out;
}

template <class T>
void check_arrays(const std::vector<T>& got, const std::vector<T>& expected, double tolerance,
                  const char* what, const char* array) {
  CHECK(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double far = std::abs(double(got[i]) - double(expected[i]));
    if (far <= tolerance * (1 + std::abs(double(expected[i])))) continue;
    std::printf("%s: %s[%zu]: expected %.17g, got %.17g\n", what, array, i, double(expected[i]),
                double(got[i]));
    ++failures;
    return;
  }
}

// f(problem, what it is) for every cell, with sizes, lengths and options drawn.
template <class T, class F>
void for_problems(F&& f) {
  std::mt19937_64 rng(sizeof(T));
  const auto upto = [&](int64_t most) { return int64_t(rng() % uint64_t(most)) + 1; };
  for (const std::string& cell : cell_names()) {
    for (int n = 0; n < 24; ++n) {
      const Shape shape{n % 8 == 7 ? 1 : upto(9),
                        n % 8 == 6 ? 1 : upto(7),
                        upto(12),
                        n % 5 == 4 ? 257 + upto(9) : upto(40),
                        int(upto(3)),
                        int(upto(2))};
      std::vector<int64_t> lengths;
      if (n % 2) {
        for (int64_t b = 0; b < shape.batch; ++b) lengths.push_back(upto(shape.times + 1) - 1);
      }
      Problem<T> problem(cell, shape, n % 4 >= 2, lengths, 100 + n);
      for (auto& weight : problem.weights) {
        for (T& w : weight) w *= T(2 / std::sqrt(double(shape.hidden)));
      }
      problem.bf16 = sizeof(T) == 4 && n % 3 == 0;
      const std::string what = cell + ' ' + std::to_string(n) + ": T B I H L D " +
                               std::to_string(shape.times) + ' ' + std::to_string(shape.batch) +
                               ' ' + std::to_string(shape.input) + ' ' +
                               std::to_string(shape.hidden) + ' ' + std::to_string(shape.layers) +
                               ' ' + std::to_string(shape.directions);
      f(problem, what.c_str());
      if (n % 6 >= 4) {
        problem.dropout = every_kind(cell);
        problem.dropout.per_sequence = n % 6 == 5;
        problem.dropout.seed = 0x123456789abcdef0u + uint64_t(n);
        f(problem, (what + " dropout").c_str());
      }
    }
  }
}

}  // namespace normrnn::test
