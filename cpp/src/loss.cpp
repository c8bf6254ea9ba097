// Losses over rows, in chunks whose sums are added in order: the same for any number of threads.
#include <algorithm>
#include <vector>

#include "cpu/dispatch.h"
#include "workspace.h"

namespace normrnn {
namespace {

constexpr int64_t kChunkElements = 1 << 14;

// Sum over chunks of rows of f(begin, end).
template <class F>
double sum_chunks(int64_t rows, int64_t columns, int threads, F&& f) {
  const int64_t chunk = std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, columns));
  const int64_t chunks = (rows + chunk - 1) / chunk;
  std::vector<double> sums(static_cast<size_t>(chunks));
  parallel_for(threads, chunks, rows * columns * 16,
               [&](int64_t i) { sums[i] = f(i * chunk, std::min(rows, (i + 1) * chunk)); });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

template <class T>
double element_loss(ElementLoss kind, const T* y, const T* target, const bool* mask, int64_t rows,
                    int64_t columns, T scale, T* dy, int threads) {
  const cpu::Kernels<T>& kernel = kernels<T>();
  return sum_chunks(rows, columns, threads, [&](int64_t begin, int64_t end) {
    if (!mask) {
      const int64_t at = begin * columns;
      return kernel.loss(int(kind), y + at, target + at, scale, (end - begin) * columns, dy + at);
    }
    double sum = 0;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = r * columns;
      if (mask[r]) {
        sum += kernel.loss(int(kind), y + at, target + at, scale, columns, dy + at);
      } else {
        std::fill_n(dy + at, columns, T(0));
      }
    }
    return sum;
  });
}

template <class T>
double softmax_cross_entropy(const T* logits, const int64_t* target, int64_t rows, int64_t classes,
                             T scale, T* d_logits, int threads) {
  const cpu::Kernels<T>& kernel = kernels<T>();
  return sum_chunks(rows, classes, threads, [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t r = begin; r < end; ++r) {
      T* row = d_logits + r * classes;
      if (target[r] >= 0) {
        sum += kernel.softmax(logits + r * classes, target[r], scale, classes, row);
      } else {
        std::fill_n(row, classes, T(0));
      }
    }
    return sum;
  });
}

#define NORMRNN_INSTANTIATE(T)                                                                    \
  template double element_loss(ElementLoss, const T*, const T*, const bool*, int64_t, int64_t, T, \
                               T*, int);                                                          \
  template double softmax_cross_entropy(const T*, const int64_t*, int64_t, int64_t, T, T*, int);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
#undef NORMRNN_INSTANTIATE

}  // namespace normrnn
