#include "peak.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "cpu/dispatch.h"
#include "workspace.h"

namespace normrnn {
namespace {

constexpr int kRepeats = 15;

// Shortest time of f() in seconds.
template <class F>
double shortest(F&& f) {
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
  }
  return best;
}

}  // namespace

template <class T>
double fma_peak(int threads) {
  constexpr int64_t kRounds = 400000;  // some ms
  const cpu::Kernels<T>& kernel = kernels<T>();
  std::vector<int64_t> done(static_cast<size_t>(threads) * 16);
  const double seconds = shortest([&] {
    run_parallel(threads, [&](Worker& worker) {
      T sink[32];
      for (int j = 0; j < 32; ++j) sink[j] = T(0.9 + 1e-3 * j);
      done[size_t(worker.rank()) * 16] = kernel.multiply_adds(kRounds, sink);
    });
  });
  int64_t total = 0;
  for (const int64_t count : done) total += count;
  return 2 * double(total) / seconds;
}

double stream_bandwidth(int threads) {
  constexpr int64_t kCount = 1 << 25;  // 128 MiB in each array: beyond any cache
  constexpr int64_t kChunk = 1 << 16;
  Buffer<float> w(kCount), g(kCount);
  std::fill_n(w.get(), kCount, 1.0f);
  std::fill_n(g.get(), kCount, 1.0f);
  const cpu::Kernels<float>& kernel = kernels<float>();
  const double seconds = shortest([&] {
    parallel_for(threads, kCount / kChunk, kCount, [&](int64_t i) {
      kernel.stream(w.get() + i * kChunk, g.get() + i * kChunk, kChunk);
    });
  });
  return 3.0 * sizeof(float) * double(kCount) / seconds;
}

template double fma_peak<float>(int);
template double fma_peak<double>(int);

}  // namespace normrnn
