// What the microbenchmarks of latencies share: checked calls, medians, one line of JSON a result.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace bench {

constexpr int kNoDevice = 77;  // exit status

// The name of the call, what CUDA says, and status 1.
#define CUDA_CHECK(call) bench::check((call), #call, __FILE__, __LINE__)
inline void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, cudaGetErrorString(status));
  std::exit(1);
}

// The first device; ends the program where there is none, or where it is older than `major`.minor.
inline cudaDeviceProp device(int major = 8) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    std::fprintf(stderr, "not run: there is no GPU here that can be used (%s)\n",
                 status == cudaSuccess ? "no device" : cudaGetErrorString(status));
    std::exit(kNoDevice);
  }
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  if (properties.major < major) {
    std::fprintf(stderr, "not run: %s has compute capability %d.%d, and this needs %d.0\n",
                 properties.name, properties.major, properties.minor, major);
    std::exit(kNoDevice);
  }
  CUDA_CHECK(cudaSetDevice(0));
  return properties;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

constexpr int kRuns = 31;

class Events {
 public:
  Events() {
    CUDA_CHECK(cudaEventCreate(&start_));
    CUDA_CHECK(cudaEventCreate(&stop_));
  }
  ~Events() {
    cudaEventDestroy(start_);
    cudaEventDestroy(stop_);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // Nanoseconds of what `launch` puts on the stream.
  template <class F>
  double time(cudaStream_t stream, F&& launch) {
    CUDA_CHECK(cudaEventRecord(start_, stream));
    launch();
    CUDA_CHECK(cudaEventRecord(stop_, stream));
    CUDA_CHECK(cudaEventSynchronize(stop_));
    CUDA_CHECK(cudaGetLastError());
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start_, stop_));
    return 1e6 * milliseconds;
  }

 private:
  cudaEvent_t start_, stop_;
};

// Nanoseconds of one of many: `launch(n)` does n of them, and what it costs besides cancels out in the
// difference between 2n and n. Median of kRuns pairs, after one that warms up.
template <class F>
double nanoseconds_of_one(cudaStream_t stream, int n, F&& launch) {
  Events events;
  std::vector<double> each;
  for (int run = -1; run < kRuns; ++run) {
    const double once = events.time(stream, [&] { launch(n); });
    const double twice = events.time(stream, [&] { launch(2 * n); });
    if (run >= 0) each.push_back((twice - once) / n);
  }
  return median(each);
}

inline void print(const cudaDeviceProp& device, const char* what, int blocks, int threads,
                  double nanoseconds, const char* more = "") {
  std::printf(
      "{\"bench\": \"%s\", \"device\": \"%s\", \"blocks\": %d, \"threads\": %d, "
      "\"median_ns\": %.1f, \"runs\": %d%s}\n",
      what, device.name, blocks, threads, nanoseconds, kRuns, more);
}

}  // namespace bench
