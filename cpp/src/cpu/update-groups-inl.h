// The update of weights that have norms in groups, and what is summed up over the groups.
//
// A gradient of the norms is known before the step, so that the step is one pass. A prox comes
// after it and needs the norms that the step leaves: the step is taken in place and summed up by
// group, and then each group is multiplied by its factor, which a group that does not change is
// spared. Where each weight has a step size of its own, that and the old weight are kept for the
// passes that follow.
#pragma once

#include "cpu/update-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::GroupRows;
using cpu::GroupSums;
using cpu::StepKeep;

// f(row, element, entry of its group, lanes) over some rows of a matrix, and end(entry) after each
// row. Rows are read whole, which hardware prefetchers follow: a tile of columns at a time, for
// sums that stay in the first cache, was slower.
template <class F, class End>
NORMRNN_INLINE void for_rows(const GroupRows& rows, int lanes, F&& f, End&& end) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const int64_t first = r * rows.columns, entry = (r - rows.begin) * rows.row_step;
    int64_t c = 0;
    for (; c + lanes <= rows.columns; c += lanes) {  // no question per vector
      f(r, first + c, entry + c * rows.column_step, lanes);
    }
    if (c < rows.columns) f(r, first + c, entry + c * rows.column_step, int(rows.columns - c));
    end(entry);
  }
}

// A value for each column, or one for a whole row.
template <class T>
NORMRNN_INLINE Vec<T> entries(const GroupRows& rows, const T* of, int64_t entry, int n) {
  return rows.column_step ? load_n(of + entry, n) : splat(of[entry]);
}

// Adds products to an array of sums that has one for each column, or one for a whole row.
struct ProductSums {
  ProductSums(double* sums, const GroupRows& rows) : sums(sums), each(rows.column_step != 0) {}

  // Lanes past the n-th are to hold a 0.
  template <class T>
  NORMRNN_INLINE void add(int64_t entry, Vec<T> a, Vec<T> b, int n) {
    Doubles product[2] = {};
    add_products(product, a, b);
    if (!each) {
      row[0] += product[0];
      row[1] += product[1];
      return;
    }
    constexpr int kHalf = kLanes<double>;
    for (int h = 0; h * kHalf < kLanes<T>; ++h) {
      const int count = int(min_of(kHalf, n - h * kHalf));
      double* at = sums + entry + h * kHalf;
      if (count > 0) store_n(at, load_n(at, count) + product[h], count);
    }
  }
  NORMRNN_INLINE void end_row(int64_t entry) {
    if (each) return;
    sums[entry] += sum_lanes<double>(row[0] + row[1]);
    row[0] = row[1] = Doubles{};
  }

  double* const sums;
  const bool each;
  Doubles row[2] = {};
};

// Takes the step of some rows. With sums of groups, the norms of the step and of the weights come
// from these later. Returns the step size of the last weight.
template <bool kGroups, class Rule, class Penalty, class T>
T row_loop(const UpdateTensor<T>& at, const UpdateScale<T>& scale, const GroupRows& rows,
           const T* row_clip, const T* group_pull, const GroupSums& to, const StepKeep<T>& keep,
           Penalty penalty, UpdateSums& sums) {
  using Steps = Stepper<Rule, Penalty, T>;
  const Steps steps(at, scale, penalty);
  StepSums<T> total{scale.sum_gradients};
  Doubles value[2] = {};  // in double: these blocks are large, see StepSums
  ProductSums before(to.before, rows), after(to.after, rows), change(to.change, rows),
      cross(to.cross, rows), weighted(to.weighted, rows);
  Vec<T> step_size{};
  const auto step = [&](int64_t r, int64_t i, int64_t entry, int n) __attribute__((always_inline)) {
    typename Steps::Step one;
    const Vec<T> clip = row_clip ? splat(row_clip[r - rows.begin]) : steps.clip;
    const Vec<T> pull = group_pull ? entries(rows, group_pull, entry, n) : Vec<T>{};
    steps.take(i, n, clip, group_pull ? &pull : nullptr, one);
    write(at, i, n, Rule::kSlots, one);
    if constexpr (!Penalty::kNone) add_to(value, first_lanes<T>(one.value, n));
    total.add_gradient(one);
    step_size = one.prox_step;
    if constexpr (!kGroups) {
      total.add_weights(one.w, one.next, n);
      return;
    }
    const Vec<T> next = first_lanes<T>(one.next, n);
    before.template add<T>(entry, one.w, one.w, n);
    after.template add<T>(entry, next, next, n);
    if (to.weighted) {
      store_n(keep.w + i - rows.begin * rows.columns, one.w, n);
      store_n(keep.step_size + i - rows.begin * rows.columns, one.prox_step, n);
      weighted.template add<T>(entry, first_lanes<T>(next * one.prox_step, n), next, n);
    } else {
      change.template add<T>(entry, next - one.w, next - one.w, n);
      cross.template add<T>(entry, next - one.w, one.w, n);
    }
  };
  for_rows(rows, kLanes<T>, step, [&](int64_t entry) {
    if constexpr (!kGroups) return;
    before.end_row(entry);
    after.end_row(entry);
    if (to.weighted) {
      weighted.end_row(entry);
    } else {
      change.end_row(entry);
      cross.end_row(entry);
    }
  });
  total.finish(sums);
  sums.penalty = sum_lanes<double>(value[0] + value[1]);
  return step_size[0];
}

template <class Rule, class T>
T step_rows_by(const UpdateTensor<T>& at, const UpdateScale<T>& scale, const GroupRows& rows,
               const T* clip, const T* pull, const GroupSums* groups, const StepKeep<T>& keep,
               UpdateSums& sums) {
  const auto run = [&](auto penalty) {
    return groups ? row_loop<true, Rule>(at, scale, rows, clip, pull, *groups, keep, penalty, sums)
                  : row_loop<false, Rule>(at, scale, rows, clip, pull, {}, keep, penalty, sums);
  };
  return at.apply == Apply::kNone ? run(NoPenalty{})
                                  : run(AnyPenalty{at.penalty, at.apply == Apply::kProx});
}

template <class T>
T step_rows(int rule, const UpdateTensor<T>& at, const UpdateScale<T>& scale, const GroupRows& rows,
            const T* clip, const T* pull, const GroupSums* groups, const StepKeep<T>& keep,
            UpdateSums& sums) {
  using Loop = T (*)(const UpdateTensor<T>&, const UpdateScale<T>&, const GroupRows&, const T*,
                     const T*, const GroupSums*, const StepKeep<T>&, UpdateSums&);
#define NORMRNN_RULE(name, type) step_rows_by<type, T>,
  static constexpr Loop kRules[] = {
#include "rules/rules.def"
  };
  return kRules[rule](at, scale, rows, clip, pull, groups, keep, sums);
}

template <class T>
void scale_rows(T* w, const GroupRows& rows, const T* factor) {
  for_rows(
      rows, kLanes<T>,
      [&](int64_t, int64_t i, int64_t entry, int n) __attribute__((always_inline)) {
        store_n(w + i, load_n(w + i, n) * entries(rows, factor, entry, n), n);
      },
      [](int64_t) {});
}

// u = w / (root + strength h), h the step size: adds u^2, and u^2 / (root + strength h).
template <class T>
void root_sums(const T* w, const T* step_size, const GroupRows& rows, const T* root,
               const T* strength, double* squares, double* over) {
  ProductSums square(squares, rows), slope(over, rows);
  const int64_t first = rows.begin * rows.columns;
  for_rows(
      rows, kLanes<T>,
      [&](int64_t, int64_t i, int64_t entry, int n) __attribute__((always_inline)) {
        const Vec<T> part =
            splat(T(1)) / (entries(rows, root, entry, n) +
                           entries(rows, strength, entry, n) * load_n(step_size + i - first, n));
        const Vec<T> w_i = load_n(w + i, n);
        const Vec<T> u = first_lanes<T>(w_i * part, n);
        square.template add<T>(entry, u, u, n);
        slope.template add<T>(entry, u, first_lanes<T>(u * part, n), n);
      },
      [&](int64_t entry) {
        square.end_row(entry);
        slope.end_row(entry);
      });
}

// w <- w root / (root + strength h).
template <class T>
void scale_by_roots(T* w, const StepKeep<T>& kept, const GroupRows& rows, const T* root,
                    const T* strength, UpdateSums& sums) {
  StepSums<T> total{false};
  const int64_t first = rows.begin * rows.columns;
  for_rows(
      rows, kLanes<T>,
      [&](int64_t, int64_t i, int64_t entry, int n) __attribute__((always_inline)) {
        const Vec<T> r = entries(rows, root, entry, n);
        const Vec<T> part = splat(T(1)) / (r + entries(rows, strength, entry, n) *
                                                   load_n(kept.step_size + i - first, n));
        const Vec<T> next = load_n(w + i, n) * (r * part);
        total.add_weights(load_n(kept.w + i - first, n), next, n);
        store_n(w + i, next, n);
      },
      [](int64_t) {});
  UpdateSums own{};
  total.finish(own);
  sums.update_squares += own.update_squares;
  sums.param_squares += own.param_squares;
}

// Of the values times `scale`.
template <class T>
void group_squares(const T* values, const GroupRows& rows, T scale, double* sums) {
  ProductSums squares(sums, rows);
  for_rows(
      rows, kLanes<T>,
      [&](int64_t, int64_t i, int64_t entry, int n) __attribute__((always_inline)) {
        const Vec<T> v = load_n(values + i, n) * scale;
        squares.template add<T>(entry, v, v, n);
      },
      [&](int64_t entry) { squares.end_row(entry); });
}

}  // namespace normrnn::NORMRNN_TARGET
