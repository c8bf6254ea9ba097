// Penalties on groups of weights, on a device: the sums that they need, and what comes of them.
// Newton's method is as in group_solver.h, with a fixed number of rounds of which those after the
// last needed do nothing: nobody waits for the device to learn how many that are.
#pragma once

#include "cuda/update_step.h"

namespace normrnn::device {

constexpr int kMostRounds = 60;  // as on the CPU

// Of every group: sums over its weights, and what is made of them.
template <class T>
struct GroupArrays {
  // [groups, 3] squares; u^2 / (root + strength h), or for a pull or factor squares of u kGroupScale;
  // squares before the step
  double* sums;
  double* exact;           // [groups] Newton's root
  const double* strength;  // [groups]
  T *pull, *factor, *root;
  int64_t* going;  // 1 while Newton's method is not at its end
  int64_t count;
};

// What one weight adds to its group's sums. kUse: the gradient's pull, a factor, or a round for the
// root.
enum class GroupUse : int { kPull, kFactor, kRoot };
template <class Rule, class T>
NORMRNN_FN inline void add_to_group(const Stepper<Rule, T>& steps, GroupUse use, int64_t i,
                                    double* sum) {
  const double before = double(steps.at.w[i]);
  if (use == GroupUse::kPull) {
    const double small = before * kGroupScale;
    sum[0] += before * before;
    sum[1] += small * small;
    sum[2] += before * before;
    return;
  }
  OneStep<Rule, T> one;
  steps.load(i, one);
  steps.take(i, one);
  T part = 1;
  if (use == GroupUse::kRoot) {
    const int64_t group = steps.group_of(i);
    part = steps.over_root(group, one.prox_step, steps.all.root[group]);
  }
  const double u = double(one.next * part), over = double(one.next * part * sqrt(part));
  sum[0] += u * u;
  const double small = u * kGroupScale;
  sum[1] += use == GroupUse::kRoot ? over * over : small * small;
  sum[2] += before * before;
}

// Sums over rows of one tensor; of a whole matrix to parts of its own [rows, 3].
template <class Rule, class T>
struct MeasureRows {
  static constexpr int kLanes = kLanesEach, kPhases = 1, kSums = 3;
  UpdateArrays<T> all;
  int64_t tensor, columns;
  GroupUse use;
  const int64_t* going;  // or null
  double* to;            // [rows, 3]
  Stepper<Rule, T> steps{};

  NORMRNN_FN void enter(int64_t, int64_t) { steps.enter(all, tensor); }
  NORMRNN_FN Range items(int, int64_t, int64_t) const {
    return {0, going && !*going ? 0 : columns};
  }
  template <class Phase>
  NORMRNN_FN void item(Phase, int64_t row, int64_t, int64_t c, const TotalsOf<MeasureRows>&,
                       double* sum) const {
    add_to_group(steps, use, row * columns + c, sum);
  }
  NORMRNN_FN void finish(int64_t row, int64_t, const TotalsOf<MeasureRows>& totals) const {
    for (int s = 0; s < kSums; ++s) to[3 * row + s] += totals[0][s];
  }
};

// The same of columns: a stretch of rows of one column for each thread.
template <class Rule, class T>
struct MeasureColumns {
  UpdateArrays<T> all;
  int64_t tensor, rows, columns, height;
  GroupUse use;
  const int64_t* going;
  double* parts;  // [chunks, columns, 3]

  NORMRNN_FN void operator()(int64_t chunk, int64_t c) const {
    if (going && !*going) return;
    Stepper<Rule, T> steps;
    steps.enter(all, tensor);
    double sum[3] = {};
    for (int64_t r = chunk * height; r < min_of(rows, (chunk + 1) * height); ++r) {
      add_to_group(steps, use, r * columns + c, sum);
    }
    for (int s = 0; s < 3; ++s) parts[(chunk * columns + c) * 3 + s] = sum[s];
  }
};

// One round of Newton's method for the groups of one kind and use, from the sums at the root so
// far.
template <class T>
struct Refine {
  static constexpr int kLanes = kLanesEach, kPhases = 1, kSums = 1;
  GroupArrays<T> groups;

  NORMRNN_FN Range items(int, int64_t, int64_t) const {
    return {0, *groups.going ? groups.count : 0};
  }
  template <class Phase>
  NORMRNN_FN void item(Phase, int64_t, int64_t, int64_t i, const TotalsOf<Refine>&,
                       double* sum) const {
    if (!(T(groups.strength[i]) > 0)) return;
    const double s = groups.sums[3 * i], over = groups.sums[3 * i + 1], left = sqrt(s) - 1;
    double next = groups.exact[i];
    if (!(s - s == 0)) {
      next = 1;  // a step size of 0 on the way: begin elsewhere
      sum[0] += 1;
    } else if ((s > 1 || next > 0) && over > 0) {  // not if all weights are 0
      next += left * s / over;
      if (next <= 0) next = groups.exact[i] / 2;  // from beyond the root the step may go too far
      constexpr double kEpsilon = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
      if (!(abs(left) <= 4 * kEpsilon)) sum[0] += 1;
    }
    groups.exact[i] = next;
    groups.root[i] = T(next);
  }
  NORMRNN_FN void finish(int64_t, int64_t, const TotalsOf<Refine>& totals) const {
    *groups.going = totals[0][0] > 0;
  }
};

// Which groups a tensor has.
template <class T>
NORMRNN_FN int64_t groups_of(const UpdateTensor<T>& at) {
  if (at.axis == GroupAxis::kWhole) return 1;
  return at.axis == GroupAxis::kRows ? at.rows : at.columns;
}

// What a kind makes of a norm.
struct GroupMaths {
  int64_t kind;
  NORMRNN_FN double value(double norm, double strength) const {
    int64_t i = 0;
#define NORMRNN_GROUP(name, type) \
  if (kind == i++) return type::value(norm, strength);
#include "groups/groups.def"
    return 0;
  }
  NORMRNN_FN double pull(double norm, double strength) const {
    int64_t i = 0;
#define NORMRNN_GROUP(name, type) \
  if (kind == i++) return type::pull(norm, strength);
#include "groups/groups.def"
    return 0;
  }
  NORMRNN_FN double factor(double norm, double strength, double step) const {
    int64_t i = 0;
#define NORMRNN_GROUP(name, type) \
  if (kind == i++) return type::factor(norm, strength, step);
#include "groups/groups.def"
    return 1;
  }
};

}  // namespace normrnn::device
