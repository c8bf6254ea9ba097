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

// The entry of a row's or of an element's group.
NORMRNN_INLINE int64_t entry_of(const GroupRows& rows, int64_t row, int64_t column) {
  return (row - rows.begin) * rows.row_step + column * rows.column_step;
}

// A value for each column, or one for a whole row.
template <class T>
NORMRNN_INLINE Vec<T> entries(const GroupRows& rows, const T* of, int64_t entry, int n) {
  return rows.column_step ? load_n(of + entry, n) : splat(of[entry]);
}

// f(bundle, its row, entry of its first group), and end(entry) after each row: rows of bundles side by
// side. Or, for sums of columns, `deep` rows at a time, one beneath the other, so that a sum of a few
// vectors is of one group; without end(), for the next rows add to the same.
template <class T, class F, class End>
NORMRNN_INLINE void for_groups(const GroupRows& rows, int deep, F&& f, End&& end) {
  if (deep) {
    for_deep_bundles<T>(rows.begin, rows.end, rows.columns, deep,
                        [&](const Bundle& b, int64_t column, int64_t row)
                            __attribute__((always_inline)) { f(b, row, column); });
    return;
  }
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const int64_t first = r * rows.columns;
    for_bundles<T>(first, first + rows.columns,
                   [&](const Bundle& b) __attribute__((always_inline)) {
                     f(b, r, entry_of(rows, r, b.first - first));
                   });
    end(entry_of(rows, r, 0));
  }
}

// Adds to the sums of some columns, or to that of a whole group.
NORMRNN_INLINE void add_each(double* sums, int lanes, const Doubles (&add)[2]) {
  constexpr int kL = kLanes<double>;
  for (int h = 0; h < 2; ++h) {
    const int n = int(min_of(kL, lanes - h * kL));
    if (n > 0) store_n(sums + h * kL, load_n(sums + h * kL, n) + add[h], n);
  }
}
template <class V>
NORMRNN_INLINE void add_each(double* sums, int lanes, V add) {
  Doubles in_double[2] = {};
  add_to(in_double, add);
  add_each(sums, lanes, in_double);
}
NORMRNN_INLINE void add_all(double* sum, Doubles (&add)[2]) {
  *sum += StepSums::total(add);
  add[0] = add[1] = Doubles{};
}

// f(where a group's sum is, what is added to it) for each sum of groups that is kept.
template <class Sums, class F>
NORMRNN_INLINE void for_group_sums(Sums& sums, const GroupSums& to, F&& f) {
  f(to.before, sums.before);
  f(to.after, sums.after);
  if (to.weighted) {
    f(to.weighted, sums.weighted);
  } else {
    f(to.change, sums.change);
    f(to.cross, sums.cross);
  }
}

// Takes the step of some rows. With sums of groups, the norms of the step and of the weights come
// from these later. Returns the step size of the last weight.
template <bool kGroups, class Rule, class Penalty, class T>
T row_loop(const UpdateTensor<T>& at, const UpdateScale<T>& scale, const GroupRows& rows,
           const T* row_clip, const T* group_pull, const GroupSums& to, const StepKeep<T>& kept,
           Penalty penalty, UpdateSums& sums) {
  const Stepper<Rule, Penalty, T> steps(at, scale, penalty);
  const int64_t first = rows.begin * rows.columns;
  const StepKeep<T> keep = kept.w ? StepKeep<T>{kept.w - first, kept.step_size - first} : kept;
  // With columns' sums as many rows at a time as are not too many streams.
  const int deep = kGroups && rows.column_step ? (Rule::kSlots ? 1 : kDeep) : 0;
  // The rows that are read next: where groups are rows, these ones are read again first.
  const int64_t next_rows = rows.row_step ? rows.end - rows.begin : deep;
  const int64_t ahead = scale.ahead && next_rows ? next_rows * rows.columns : scale.ahead;
  const int64_t next_entry = deep ? 0 : rows.column_step * kLanes<T>;  // of a bundle's next vector
  StepSums total;
  Vec<T> step_size{};
  for_groups<T>(
      rows, deep,
      [&](const Bundle& b, int64_t row, int64_t entry) __attribute__((always_inline)) {
        Vec<T> group{};
        step_size = take_bundle<kGroups>(
            steps, b, scale.sum_gradients, deep != 0, keep, ahead,
            [&](int j) __attribute__((always_inline)) {
              return row_clip ? splat(row_clip[row - rows.begin + (deep ? j : 0)]) : steps.clip;
            },
            [&](int j) __attribute__((always_inline)) -> const Vec<T>* {
              if (!group_pull) return nullptr;
              group = entries(rows, group_pull, entry + j * next_entry, b.lanes);
              return &group;
            },
            [&](const auto& sums) __attribute__((always_inline)) {
              if (!deep) return total.add(sums);
              for_group_sums(sums, to,
                             [&](double* of, const auto& add) __attribute__((always_inline)) {
                               add_each(of + entry, b.lanes, add);
                             });
              add_to(total.penalty, sums.penalty);
              add_to(total.grad, sums.grad);
            });
      },
      [&](int64_t entry) __attribute__((always_inline)) {
        if constexpr (!kGroups) return;
        for_group_sums(total, to, [&](double* of, Doubles(&add)[2]) __attribute__((always_inline)) {
          add_all(of + entry, add);
        });
      });
  if constexpr (kGroups) total.change[0] = total.change[1] = Doubles{};
  total.finish(sums);
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
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    over_row<T>(rows.columns, [&](int64_t c, int n) __attribute__((always_inline)) {
      T* at = w + r * rows.columns + c;
      store_n(at, load_n(at, n) * entries(rows, factor, entry_of(rows, r, c), n), n);
    });
  }
}

// u = w / (root + strength h), h the step size: adds u^2, and u^2 / (root + strength h).
template <class T>
void root_sums(const T* w, const T* step_size, const GroupRows& rows, const T* root,
               const T* strength, double* squares, double* over) {
  const bool each = rows.column_step != 0;
  const int64_t begin = rows.begin * rows.columns;
  Doubles square[2] = {}, slope[2] = {};
  for_groups<T>(
      rows, each ? kDeep : 0,
      [&](const Bundle& b, int64_t, int64_t entry) __attribute__((always_inline)) {
        const Vec<T> r = entries(rows, root, entry, b.lanes);
        const Vec<T> s = entries(rows, strength, entry, b.lanes);
        const auto part = [&](int64_t i) __attribute__((always_inline)) {
          const Vec<T> sum = r + s * load_n(step_size + i - begin, b.lanes);
          return first_lanes<T>(splat(T(1)) / sum, b.lanes);
        };
        Vec<T> u_u{}, u_v{};
        for (int j = 0; j < b.count; ++j) {
          const int64_t i = b.first + j * b.stride;
          const Vec<T> p = part(i), u = load_n(w + i, b.lanes) * p;
          u_u += u * u;
          u_v += u * (u * p);
        }
        if (hold(min(u_u, u_v), max(u_u, u_v), each, b.lanes)) {
          add_to(square, u_u);
          add_to(slope, u_v);
        } else {
          for (int j = 0; j < b.count; ++j) {
            const int64_t i = b.first + j * b.stride;
            const Vec<T> p = part(i), u = load_n(w + i, b.lanes) * p;
            add_squares(square, u);
            add_products(slope, u, u * p);
          }
        }
        if (!each) return;
        add_each(squares + entry, b.lanes, square);
        add_each(over + entry, b.lanes, slope);
        square[0] = square[1] = slope[0] = slope[1] = Doubles{};
      },
      [&](int64_t entry) {
        add_all(squares + entry, square);
        add_all(over + entry, slope);
      });
}

// w <- w root / (root + strength h).
template <class T>
void scale_by_roots(T* w, const StepKeep<T>& kept, const GroupRows& rows, const T* root,
                    const T* strength, UpdateSums& sums) {
  StepSums total;
  const int64_t begin = rows.begin * rows.columns;
  for_groups<T>(
      rows, 0,
      [&](const Bundle& b, int64_t, int64_t first_entry) __attribute__((always_inline)) {
        BundleSums<T> sums;
        Vec<T> old[kBundle];
        for (int j = 0; j < b.count; ++j) {
          const int64_t i = b.first + j * b.stride;
          const int64_t entry = first_entry + j * rows.column_step * kLanes<T>;
          const Vec<T> own = entries(rows, root, entry, b.lanes);
          const Vec<T> part = splat(T(1)) / (own + entries(rows, strength, entry, b.lanes) *
                                                       load_n(kept.step_size + i - begin, b.lanes));
          // A root of 0 is a group at 0, also where strength and step size have a product of 0.
          const Vec<T> factor = own > 0 ? own * part : Vec<T>{};
          const Vec<T> next = first_lanes<T>(load_n(w + i, b.lanes) * factor, b.lanes);
          old[j] = load_n(kept.w + i - begin, b.lanes);
          store_n(w + i, next, b.lanes);
          sums.after += next * next;
          sums.change += (next - old[j]) * (next - old[j]);
        }
        const Taken<T> taken{w, old, nullptr, nullptr};
        const Vec<T> most = max(sums.after, sums.change);
        if (!hold(min(sums.after, sums.change), most, false, b.lanes) &&
            (!are_finite(most) || lost_squares<false>(taken, b, false, sums))) {
          return total.add(sum_in_double<false>(taken, b));
        }
        total.add(sums);
      },
      [](int64_t) {});
  sums.update_squares += StepSums::total(total.change);
  sums.param_squares += StepSums::total(total.after);
}

// Of the values times `scale`.
template <class T>
void group_squares(const T* values, const GroupRows& rows, T scale, double* sums) {
  const bool each = rows.column_step != 0;
  Doubles sum[2] = {};
  for_groups<T>(
      rows, each ? kDeep : 0,
      [&](const Bundle& b, int64_t, int64_t entry) __attribute__((always_inline)) {
        add_bundle<T>(sum, b, each, [&](int64_t i) __attribute__((always_inline)) {
          return load_n(values + i, b.lanes) * scale;
        });
        if (!each) return;
        add_each(sums + entry, b.lanes, sum);
        sum[0] = sum[1] = Doubles{};
      },
      [&](int64_t entry) { add_all(sums + entry, sum); });
}

}  // namespace normrnn::NORMRNN_TARGET
