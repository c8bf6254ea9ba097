// The update as programs: groups of lanes take a block of some tensor's weights each. One program
// for a rule; penalties are told apart at run time, which all lanes of a block do alike.
#pragma once

#include "cuda/queue.h"
#include "normrnn/cuda.h"

#include "groups/groups.def"
#include "penalties/penalties.def"
#include "rules/rules.def"

namespace normrnn::device {

constexpr int64_t kUpdateBlock = 4096;  // elements
constexpr int kLanesEach = 256;
template <class T>
constexpr int kWide = 16 / int(sizeof(T));  // elements of an array that a lane has on their way

struct UpdateBlock {
  int64_t tensor, begin, end;
};

// Elements kLanesEach apart that are one item: neighbouring lanes read neighbouring elements.
template <class T>
NORMRNN_FN Range items_of(const UpdateBlock& block) {
  constexpr int64_t kAtOnce = kLanesEach * kWide<T>;
  return {0, (block.end - block.begin + kAtOnce - 1) / kAtOnce * kLanesEach};
}
template <class T>
NORMRNN_FN int64_t element_of(const UpdateBlock& block, int64_t item, int wide) {
  return block.begin + item / kLanesEach * (kLanesEach * kWide<T>)+wide * kLanesEach +
         item % kLanesEach;
}

// Arrays of an update, in device memory.
template <class T>
struct UpdateArrays {
  const UpdateTensor<T>* tensors;
  const UpdateBlock* blocks;
  double* parts;  // [blocks, 4]
  double* sums;   // [cuda::kUpdateSums]
  int64_t look_first;
  T rule_scalar[kMaxScalars];
  T clip_value;
  // By groups, null where there are none: the penalties' gradient is pull * w, the prox factor * w,
  // or root / (root + strength * step size) * w.
  const T *pull, *factor, *root;
  const double* strength;
  int64_t needs_roots;
  const T* row_clip;         // of all rows of all tensors, or null
  const int64_t* first_row;  // [tensors] the first of each
};

// The penalty on one weight.
template <class T>
struct WeightPenalty {
  int kind;  // in penalties.def; -1: none
  bool as_prox;

  NORMRNN_FN T gradient(T w, T center, const T* scalar) const {
    if (as_prox) return T(0);
    int i = 0;
#define NORMRNN_PENALTY(name, type) \
  if (kind == i++) return type::gradient(w, center, scalar);
#include "penalties/penalties.def"
    return T(0);
  }
  NORMRNN_FN T prox(T w, T center, T step, const T* scalar) const {
    if (!as_prox) return w;
    int i = 0;
#define NORMRNN_PENALTY(name, type) \
  if (kind == i++) return type::prox(w, center, step, scalar);
#include "penalties/penalties.def"
    return w;
  }
  NORMRNN_FN T value(T w, T center, const T* scalar) const {
    int i = 0;
#define NORMRNN_PENALTY(name, type) \
  if (kind == i++) return type::value(w, center, scalar);
#include "penalties/penalties.def"
    return T(0);
  }
};

// Whether a penalty on groups, in groups.def, is a constraint.
NORMRNN_FN inline bool is_constraint(int kind) {
  int i = 0;
#define NORMRNN_GROUP(name, type) \
  if (kind == i++) return type::kConstraint;
#include "groups/groups.def"
  return false;
}

// One weight's step.
template <class Rule, class T>
struct OneStep {
  T w, g, next, prox_step, value, slot[Rule::kSlots + 1];
};

// kPlain: no tensor of the call has factors, centres, groups, another penalty's gradient, or clips
// by row: all that takes registers, and the fewer, the more lanes fit on a multiprocessor.
template <class Rule, class T, bool kPlain = false>
struct Stepper {
  UpdateArrays<T> all;
  UpdateTensor<T> at;
  int64_t first_row;
  T clip;

  NORMRNN_FN void enter(const UpdateArrays<T>& arrays, int64_t tensor) {
    all = arrays;
    at = arrays.tensors[tensor];
    first_row = arrays.row_clip ? arrays.first_row[tensor] : 0;
    clip = arrays.look_first ? T(arrays.sums[cuda::kClipScale]) : T(1);
  }

  NORMRNN_FN void load(int64_t i, OneStep<Rule, T>& to) const {
    to.w = at.w[i];
    to.g = at.g[i];
    for (int s = 0; s < Rule::kSlots; ++s) to.slot[s] = at.slot[s][i];
  }

  NORMRNN_FN int64_t group_of(int64_t i) const {
    if (at.axis == GroupAxis::kWhole) return at.first_group;
    return at.first_group + (at.axis == GroupAxis::kRows ? i / at.columns : i % at.columns);
  }

  // From what was loaded, without the factor of a group.
  NORMRNN_FN void take(int64_t i, OneStep<Rule, T>& to) const {
    T center = 0, factor = 1, row_clip = clip, others = 0;
    if constexpr (!kPlain) {
      if (at.center) center = at.center[i];
      if (at.factor) factor = at.factor[i];
      if (all.row_clip) row_clip = all.row_clip[first_row + i / at.columns];
      if (at.group_apply == Apply::kGradient) others = all.pull[group_of(i)] * to.w;
      if (at.pull) others += at.pull[i];
    }
    T scalar[kMaxScalars];
    for (int s = 0; s < kMaxScalars; ++s) scalar[s] = at.penalty_scalar[s] * factor;
    const WeightPenalty<T> penalty{at.apply == Apply::kNone ? -1 : at.penalty,
                                   at.apply == Apply::kProx};
    T g = row_clip * max(-all.clip_value, min(all.clip_value, to.g));
    to.g = g;
    const T pull = penalty.gradient(to.w, center, scalar) + others;
    if constexpr (!Rule::kDecoupled) g += pull;
    T next = to.w - Rule::step(g, to.slot, all.rule_scalar, to.prox_step);
    if constexpr (Rule::kDecoupled) next -= to.prox_step * pull;
    to.next = penalty.prox(next, center, to.prox_step, scalar);
    to.value = penalty.value(to.w, center, scalar);
  }

  // 1 / (root + strength h) of a weight's group, with the step size h.
  NORMRNN_FN T over_root(int64_t group, T prox_step, T root) const {
    return T(1) / (root + T(all.strength[group]) * prox_step);
  }

  NORMRNN_FN void apply_group(int64_t i, OneStep<Rule, T>& to) const {
    if (kPlain || at.group_apply != Apply::kProx) return;
    const int64_t group = group_of(i);
    if (!needs_root()) {
      to.next *= all.factor[group];
    } else {
      const T root = all.root[group];
      to.next *= root * over_root(group, to.prox_step, root);
    }
  }

  NORMRNN_FN bool needs_root() const { return all.needs_roots && !is_constraint(at.group); }
};

// Squares of the gradients, the same scaled so that they cannot overflow, and how many are not
// finite.
template <class T>
struct LookAtGradients {
  static constexpr int kLanes = kLanesEach, kPhases = 1, kSums = 3;
  UpdateArrays<T> all;
  UpdateBlock block{};
  const T* g = nullptr;

  NORMRNN_FN void enter(int64_t row, int64_t) {
    block = all.blocks[row];
    g = all.tensors[block.tensor].g;
  }
  NORMRNN_FN Range items(int, int64_t, int64_t) const { return items_of<T>(block); }
  template <class Phase>
  NORMRNN_FN void item(Phase, int64_t, int64_t, int64_t i, const TotalsOf<LookAtGradients>&,
                       double* sum) const {
    T value[kWide<T>];
    for (int k = 0; k < kWide<T>; ++k) {
      const int64_t at = element_of<T>(block, i, k);
      value[k] = at < block.end ? g[at] : T(0);
    }
    for (int k = 0; k < kWide<T>; ++k) {
      const double one = double(value[k]), small = one * kGroupScale;
      sum[0] += one * one;
      sum[1] += small * small;
      if (!(one - one == 0)) sum[2] += 1;
    }
  }
  NORMRNN_FN void finish(int64_t row, int64_t, const TotalsOf<LookAtGradients>& totals) const {
    for (int s = 0; s < kSums; ++s) all.parts[row * 4 + s] = totals[0][s];
  }
};

// The step itself, and its sums: the penalty of the weights before it, and squares of the gradient
// as clipped, of the step and of the weights after it.
template <class Rule, class T, bool kPlain>
struct UpdateStep {
  static constexpr int kLanes = kLanesEach, kPhases = 1, kSums = 4;
  UpdateArrays<T> all;
  UpdateBlock block{};
  Stepper<Rule, T, kPlain> steps{};

  NORMRNN_FN void enter(int64_t row, int64_t) {
    block = all.blocks[row];
    if (all.look_first && all.sums[cuda::kBadCount] > 0) block.end = block.begin;  // touch nothing
    steps.enter(all, block.tensor);
  }
  NORMRNN_FN Range items(int, int64_t, int64_t) const { return items_of<T>(block); }
  template <class Phase>
  NORMRNN_FN void item(Phase, int64_t, int64_t, int64_t i, const TotalsOf<UpdateStep>&,
                       double* sum) const {
    OneStep<Rule, T> step[kWide<T>];
    for (int k = 0; k < kWide<T>; ++k) {
      const int64_t at = element_of<T>(block, i, k);
      if (at < block.end) steps.load(at, step[k]);
    }
    for (int k = 0; k < kWide<T>; ++k) {
      const int64_t at = element_of<T>(block, i, k);
      if (at >= block.end) continue;
      OneStep<Rule, T>& one = step[k];
      steps.take(at, one);
      steps.apply_group(at, one);
      steps.at.w[at] = one.next;
      for (int s = 0; s < Rule::kSlots; ++s) steps.at.slot[s][at] = one.slot[s];
      const double moved = double(one.next - one.w);
      sum[0] += double(one.value);
      sum[1] += double(one.g) * double(one.g);
      sum[2] += moved * moved;
      sum[3] += double(one.next) * double(one.next);
    }
  }
  NORMRNN_FN void finish(int64_t row, int64_t, const TotalsOf<UpdateStep>& totals) const {
    for (int s = 0; s < kSums; ++s) all.parts[row * 4 + s] = totals[0][s];
  }
};

}  // namespace normrnn::device
