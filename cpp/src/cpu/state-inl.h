// State penalties and the clip of dL/dh_t: what they do to one row of a step inside the time loop,
// and the passes over the states before it and over the kept products after it.
#pragma once

#include "cpu/layer-inl.h"
#include "cpu/sums-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::LayerBackward;
using cpu::StateSums;
using cpu::StateTerms;

// The state penalties' share of dL/dh_t for one packed row, then the clip of the total.
template <bool kAny, class T>
class RowTerms {
 public:
  template <class E>
  NORMRNN_INLINE RowTerms(const LayerBackward<T, E>& op, const Clock& clock, int64_t step,
                          int64_t r)
      : terms_(op.terms), row_(clock.begin(step) + r) {
    scale_ = terms_.row_scale ? terms_.l2 + terms_.row_scale[row_] : terms_.l2;
    // The neighbours in time, or the row itself where the sequence begins or ends: no difference.
    const T* h = op.state[0] + op.batch * op.state_ld;
    before_ = h + (r < clock.rows(step - 1) ? clock.begin(step - 1) + r : row_) * op.state_ld;
    after_ = h + (r < clock.rows(step + 1) ? clock.begin(step + 1) + r : row_) * op.state_ld;
  }

  NORMRNN_INLINE void add(Vec<T>& d, Vec<T> h, int64_t unit) const {
    if (scale_ != 0) d += splat(scale_) * h;  // not 0 h, which is NaN where h is infinite
    if (terms_.l1 != 0) {
      const Vec<T> l1 = splat(terms_.l1);
      d += h > 0 ? l1 : (h < 0 ? -l1 : h);  // 0 at 0, and NaN passes
    }
    if (terms_.tar != 0) {
      d += splat(terms_.tar) * ((h - load(before_ + unit)) + (h - load(after_ + unit)));
    }
  }

  // Lanes that are no units are 0 before and after. NaN passes.
  NORMRNN_INLINE void clip(Vec<T>& d) {
    if (!terms_.clipped_parts) return;
    d = max(splat(-terms_.clip), min(splat(terms_.clip), d));
    add_squares(norm_, d);
  }

  NORMRNN_INLINE void finish(int64_t panel, int64_t panels) const {
    if (!terms_.clipped_parts) return;
    terms_.clipped_parts[row_ * panels + panel] = sum_lanes<double>(norm_[0] + norm_[1]);
  }

 private:
  const StateTerms<T>& terms_;
  const int64_t row_;
  T scale_;
  const T *before_, *after_;
  Doubles norm_[2] = {};
};

// Without any there is nothing to do, nor to ask.
template <class T>
class RowTerms<false, T> {
 public:
  template <class E>
  NORMRNN_INLINE RowTerms(const LayerBackward<T, E>&, const Clock&, int64_t, int64_t) {}
  NORMRNN_INLINE void add(Vec<T>&, Vec<T>, int64_t) const {}
  NORMRNN_INLINE void clip(Vec<T>&) const {}
  NORMRNN_INLINE void finish(int64_t, int64_t) const {}
};

// A tile of the product dL/drec W of `rows` packed rows from `row` on, as it goes on to h_{t-1},
// kept with its norms.
template <class T, class E>
void keep_products(const LayerBackward<T, E>& op, const T* tile, int64_t rows, int64_t panel,
                   int64_t panels, int64_t row, int64_t sequence) {
  for (int64_t m = 0; m < rows; ++m) {
    const MaskRow<T> mask(op.masks.state, row + m, sequence + m);
    Doubles norm[2] = {};
    for (int v = 0; v < kDenseSets; ++v) {
      const int64_t unit = panel * kDenseWidth<T> + v * kLanes<T>;
      const int n = int(min_of(kLanes<T>, op.hidden - unit));
      if (n <= 0) break;
      const Vec<T> product = load(tile + m * kDenseWidth<T> + v * kLanes<T>);
      const Vec<T> q = mask(first_lanes<T>(product, n), unit);
      store(op.terms.products + (row + m) * op.state_ld + unit, q);
      add_squares(norm, q);
    }
    op.terms.product_parts[(row + m) * panels + panel] = sum_lanes<double>(norm[0] + norm[1]);
  }
}

// Sums over a row of h [count]; `before`, the row of the step before, may be null.
template <class T>
StateSums state_sums(const T* h, const T* before, int64_t count) {
  Doubles absolutes[2] = {}, squares[2] = {}, steps[2] = {};
  for_bundles<T>(0, count, [&](const Bundle& b) __attribute__((always_inline)) {
    const auto one = [&](int64_t i)
                         __attribute__((always_inline)) { return load_n(h + i, b.lanes); };
    const auto size = [&](int j) __attribute__((always_inline)) {
      const Vec<T> v = one(b.first + j * b.stride);
      return max(v, -v);
    };
    Vec<T> sizes{};
    for (int j = 0; j < b.count; ++j) sizes += size(j);
    if (are_finite(sizes)) {
      add_to(absolutes, sizes);
    } else {
      for (int j = 0; j < b.count; ++j) add_to(absolutes, size(j));
    }
    add_bundle<T>(squares, b, false, one);
    if (!before) return;
    add_bundle<T>(steps, b, false, [&](int64_t i) __attribute__((always_inline)) {
      return one(i) - load_n(before + i, b.lanes);
    });
  });
  return {sum_lanes<double>(absolutes[0] + absolutes[1]),
          sum_lanes<double>(squares[0] + squares[1]), sum_lanes<double>(steps[0] + steps[1])};
}

// row = h + outer (inner row), [count] each. Two factors, for the product of both may overflow.
template <class T>
void add_product(const T* h, T outer, T inner, int64_t count, T* row) {
  over_row<T>(count, [&](int64_t i, int n) __attribute__((always_inline)) {
    const Vec<T> unit = splat(inner) * load_n(row + i, n);
    store_n(row + i, load_n(h + i, n) + splat(outer) * unit, n);
  });
}

}  // namespace normrnn::NORMRNN_TARGET
