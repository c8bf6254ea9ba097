// Sums of squares and products: of a few vectors together in T, and of those in double.
//
// To turn each float32 vector into two of doubles takes several times as long as its square. A few
// squares summed in float32 first are as exact as one, to 2^-24 of each, and cost a tenth of that.
// Where they are too large or too small for float32, the bundle is summed up again in double.
#pragma once

#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

// Vectors whose sums are taken together: side by side, or one beneath the other.
struct Bundle {
  int64_t first, stride;  // of their elements
  int count, lanes;       // vectors; elements in each
};
constexpr int kBundle = 8;  // vectors at most
constexpr int kDeep = 4;    // rows, where vectors lie one beneath the other: each is a stream

// f(bundle) for elements [begin, end), side by side.
template <class T, class F>
NORMRNN_INLINE void for_bundles(int64_t begin, int64_t end, F&& f) {
  constexpr int kL = kLanes<T>;
  int64_t i = begin;
  for (; i + kBundle * kL <= end; i += kBundle * kL) f(Bundle{i, kL, kBundle, kL});
  while (i < end) {  // whole vectors, then what is less than one
    const int whole = int((end - i) / kL);
    f(whole ? Bundle{i, kL, whole, kL} : Bundle{i, kL, 1, int(end - i)});
    i += max_of(1, whole) * kL;
  }
}

// f(bundle, first column, first row) for rows [begin, end), `most` at a time, one beneath the other.
template <class T, class F>
NORMRNN_INLINE void for_deep_bundles(int64_t begin, int64_t end, int64_t columns, int most, F&& f) {
  constexpr int kL = kLanes<T>;
  for (int64_t r = begin; r < end; r += most) {
    const int deep = int(min_of(most, end - r));
    int64_t c = 0;
    for (; c + kL <= columns; c += kL) f(Bundle{r * columns + c, columns, deep, kL}, c, r);
    if (c < columns) f(Bundle{r * columns + c, columns, deep, int(columns - c)}, c, r);
  }
}

// Whether none of a bundle's sums has overflowed, of which `most` are the largest. What overflows in
// double has nowhere else to go.
NORMRNN_INLINE bool are_finite(Vec<float> most) { return at_least(most, 0x1p127f) == 0; }
NORMRNN_INLINE bool are_finite(Vec<double>) { return true; }

// Of sizes.
NORMRNN_INLINE bool all_zero(Vec<float> v) {
  return at_least(-v, 0) == (uint64_t(1) << kLanes<float>)-1;
}
NORMRNN_INLINE bool all_zero(Vec<double>) { return false; }  // nobody asks

// Whether sums of squares in float32 are as good as in double: none has overflowed, and one of the
// lanes, as they are added up, or each, where they are not, is so large that squares below the
// smallest number are next to nothing beside it. `least` and `most` are of all sums of a bundle.
NORMRNN_INLINE bool hold(Vec<float> least, Vec<float> most, bool each, int lanes) {
  const uint64_t enough = at_least(least, 0x1p-90f), all = (uint64_t(1) << lanes) - 1;
  return (each ? (enough & all) == all : enough != 0) && are_finite(most);
}
NORMRNN_INLINE bool hold(Vec<double>, Vec<double>, bool, int) { return true; }

// Else whether any square was lost: zeros, of which there are many in sparse weights and gradients,
// lose nothing.
struct LostSquares {
  NORMRNN_INLINE void look(Vec<float> v) {
    const Vec<float> size = max(v, -v);
    found = max(found, size < 0x1p-63f ? size : Vec<float>{});
  }
  NORMRNN_INLINE void look(Vec<double>) {}
  NORMRNN_INLINE bool any() const { return !all_zero(found); }
  Vec<float> found{};
};

// Adds the squares of value(i), a vector of the bundle's at i, whose lanes past the last are 0.
template <class T, class Value>
NORMRNN_INLINE void add_bundle(Doubles (&sum)[2], const Bundle& b, bool each, Value&& value) {
  Vec<T> squares{};
  for (int j = 0; j < b.count; ++j) {
    const Vec<T> v = value(b.first + j * b.stride);
    squares += v * v;
  }
  if (!hold(squares, squares, each, b.lanes)) {
    LostSquares lost;
    for (int j = 0; j < b.count; ++j) lost.look(value(b.first + j * b.stride));
    if (lost.any() || !are_finite(squares)) {
      for (int j = 0; j < b.count; ++j) add_squares(sum, value(b.first + j * b.stride));
      return;
    }
  }
  add_to(sum, squares);
}

// Sum of squares; NaN or infinite exactly where a value is, for float32.
template <class T>
double squares(const T* values, int64_t count) {
  Doubles sum[2] = {};
  for_bundles<T>(0, count, [&](const Bundle& b) __attribute__((always_inline)) {
    add_bundle<T>(sum, b, false, [&](int64_t i) __attribute__((always_inline)) {
      return load_n(values + i, b.lanes);
    });
  });
  return sum_lanes<double>(sum[0] + sum[1]);
}

}  // namespace normrnn::NORMRNN_TARGET
