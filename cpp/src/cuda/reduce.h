// Sums of many numbers, in an order that depends on nothing but how many there are.
#pragma once

#include "cuda/queue.h"

namespace normrnn::device {

constexpr int64_t kFewestRows = 64;   // that are summed one after the other
constexpr int64_t kMostChunks = 256;  // of rows

// to[c] = sum over rows of f(row, c), for all columns.
template <class T, class Queue, class F>
void column_sums(Queue& queue, const char* name, int64_t rows, int64_t columns, F f, T* to) {
  int64_t height = (rows + kMostChunks - 1) / kMostChunks;
  if (height < kFewestRows) height = kFewestRows;
  const int64_t chunks = (rows + height - 1) / height;
  Memory<double> parts = memory<double>(queue, name, chunks, columns);
  double* part = parts.get();
  queue.each(
      name, chunks, columns, NORMRNN_LAMBDA(int64_t chunk, int64_t c) {
        double sum = 0;
        for (int64_t r = chunk * height; r < min_of(rows, (chunk + 1) * height); ++r) {
          sum += double(f(r, c));
        }
        part[chunk * columns + c] = sum;
      });
  queue.each(
      name, 1, columns, NORMRNN_LAMBDA(int64_t, int64_t c) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += part[chunk * columns + c];
        to[c] = T(sum);
      });
}

// finish(row, sums) of kCount sums over the items of each row: f(row, item, sum) adds to them. An
// own struct for what a lambda cannot be: it is called in a program.
template <int kCount, class Items, class F, class Finish>
struct RowSums {
  static constexpr int kLanes = 256, kPhases = 1, kSums = kCount;
  Items count;  // items of a row
  F add;
  Finish end;

  NORMRNN_FN Range items(int, int64_t row, int64_t) const { return {0, count(row)}; }
  template <class Phase>
  NORMRNN_FN void item(Phase, int64_t row, int64_t, int64_t i, const TotalsOf<RowSums>&,
                       double* sum) const {
    add(row, i, sum);
  }
  NORMRNN_FN void finish(int64_t row, int64_t, const TotalsOf<RowSums>& totals) const {
    end(row, totals[0]);
  }
};

template <int kCount, class Queue, class Items, class F, class Finish>
void row_sums(Queue& queue, const char* name, int64_t rows, Items count, F add, Finish end) {
  queue.groups(name, rows, 1, RowSums<kCount, Items, F, Finish>{count, add, end});
}

}  // namespace normrnn::device
