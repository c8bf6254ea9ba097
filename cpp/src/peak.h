// The machine's limits, measured: what benchmarks are told as fractions of.
#pragma once

namespace normrnn {

// Floating-point operations a second with T on `threads` threads, a multiply-add counting two.
template <class T>
double fma_peak(int threads);

// Bytes a second over the three streams of w <- w - a (g + b w), far beyond the caches.
double stream_bandwidth(int threads);

}  // namespace normrnn
