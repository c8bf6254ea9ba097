// What the machine can do at best, for benchmarks to be measured against.
#pragma once

#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

// Multiply-adds on registers alone, in as many independent chains as a tile has; returns their
// number.
template <class T>
int64_t multiply_adds(int64_t rounds, T* sink) {
  constexpr int kChains = NORMRNN_ACCUMULATORS;
  Vec<T> chain[kChains];
#pragma GCC unroll 32
  for (int j = 0; j < kChains; ++j) chain[j] = splat(sink[j]);  // unlike, or they would be merged
  const Vec<T> factor = splat(sink[0]), term = splat(sink[1]);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 32
    for (int j = 0; j < kChains; ++j) chain[j] = chain[j] * factor + term;
    asm volatile("" ::: "memory");  // the loop must not be folded
  }
  Vec<T> sum{};
#pragma GCC unroll 32  // an array indexed at run time would not stay in registers
  for (int j = 0; j < kChains; ++j) sum += chain[j];
  sink[2] = sum[0];
  return rounds * kChains * kLanes<T>;
}

// The memory traffic of the plainest update, w <- w - alpha (g + 2 lambda w).
template <class T>
void stream(T* w, const T* g, int64_t count) {
  for (int64_t i = 0; i + kLanes<T> <= count; i += kLanes<T>) {
    store(w + i, load(w + i) - T(1e-3) * (load(g + i) + T(1e-4) * load(w + i)));
  }
}

}  // namespace normrnn::NORMRNN_TARGET
