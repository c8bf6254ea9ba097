// The least that a test program needs: a check that counts, and a main that knows its target.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <vector>

#include "cpu/dispatch.h"

namespace normrnn::test {

inline int failures = 0;

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      ++normrnn::test::failures;                                          \
    }                                                                     \
  } while (0)

inline void check_close(double got, double expected, double tolerance, const char* what) {
  if (std::abs(got - expected) <= tolerance * (1 + std::abs(expected))) return;
  std::printf("%s: expected %.17g, got %.17g\n", what, expected, got);
  ++failures;
}

template <class T>
std::vector<T> draw(std::mt19937_64& rng, int64_t count) {
  std::normal_distribution<double> normal(0, 0.5);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = T(normal(rng));
  return values;
}

// Runs the tests under the target in NORMRNN_TARGET; 77 where the CPU does not have it.
inline int run(void (*tests)()) {
  try {
    std::printf("target %s\n", target().name);
  } catch (const std::invalid_argument& error) {
    std::printf("not run: %s\n", error.what());
    return 77;
  }
  tests();
  std::printf(failures ? "%d checks failed\n" : "all checks passed\n", failures);
  return failures != 0;
}

}  // namespace normrnn::test
