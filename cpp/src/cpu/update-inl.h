// The one update step: gradient, penalty, rule, prox, and their sums, in one pass over memory.
// Weights in groups take it in update-groups-inl.h.
#pragma once

#include <type_traits>

#include "cpu/kernels.h"
#include "cpu/sums-inl.h"
#include "penalties/penalties.def"
#include "rules/rules.def"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::UpdateScale;
using cpu::UpdateSums;

// How a penalty of each weight acts: its gradient, its prox, and its value. Known at compile time
// in the loop that nearly every tensor takes.
struct NoPenalty {
  static constexpr bool kNone = true;
  template <class V>
  static V gradient(V, V, const V*) {
    return V{};
  }
  template <class V>
  static V prox(V w, V, V, const V*) {
    return w;
  }
  template <class V>
  static V value(V, V, const V*) {
    return V{};
  }
};

template <class Penalty>
struct AsGradient : Penalty {
  static constexpr bool kNone = false;
  template <class V>
  static V prox(V w, V, V, const V*) {
    return w;
  }
};

template <class Penalty>
struct AsProx : Penalty {
  static constexpr bool kNone = false;
  template <class V>
  static V gradient(V, V, const V*) {
    return V{};
  }
};

// Or known at run time, where groups take more time than a well-predicted branch for each vector.
struct AnyPenalty {
  static constexpr bool kNone = false;
  int kind = -1;  // in penalties.def; -1: none
  bool as_prox = false;

  template <class V>
  NORMRNN_INLINE V gradient(V w, V center, const V* scalar) const {
    if (as_prox) return V{};
    int i = 0;
#define NORMRNN_PENALTY(name, type) \
  if (kind == i++) return type::gradient(w, center, scalar);
#include "penalties/penalties.def"
    return V{};
  }
  template <class V>
  NORMRNN_INLINE V prox(V w, V center, V step, const V* scalar) const {
    if (!as_prox) return w;
    int i = 0;
#define NORMRNN_PENALTY(name, type) \
  if (kind == i++) return type::prox(w, center, step, scalar);
#include "penalties/penalties.def"
    return w;
  }
  template <class V>
  NORMRNN_INLINE V value(V w, V center, const V* scalar) const {
    int i = 0;
#define NORMRNN_PENALTY(name, type) \
  if (kind == i++) return type::value(w, center, scalar);
#include "penalties/penalties.def"
    return V{};
  }
};

// The step of a rule with a penalty, a vector at a time.
template <class Rule, class Penalty, class T>
struct Stepper {
  struct Step {
    Vec<T> w, g, next, prox_step, value;
    Vec<T> slot[Rule::kSlots + 1];
  };

  Stepper(const UpdateTensor<T>& tensor, const UpdateScale<T>& scale, Penalty how = {})
      : at(tensor),
        penalty(how),
        clips(scale.clips),
        clip(splat(scale.clip_scale)),
        limit(splat(scale.clip_value)) {
    for (int i = 0; i < kMaxScalars; ++i) {
      rule[i] = splat(scale.rule_scalar[i]);
      strength[i] = splat(at.penalty_scalar[i]);
    }
  }

  // The step of the n weights from the i-th on, without the groups' factor; pull: of w, by groups,
  // or null. Lanes past the n-th hold no weight: they are read as 0.
  NORMRNN_INLINE void take(int64_t i, int n, Vec<T> row_clip, const Vec<T>* group_pull,
                           Step& to) const {
    const Vec<T> w = load_n(at.w + i, n);
    const Vec<T> center = at.center ? load_n(at.center + i, n) : Vec<T>{};
    Vec<T> scalar[kMaxScalars];
    const Vec<T> factor = at.factor ? load_n(at.factor + i, n) : splat(T(1));
    for (int s = 0; s < kMaxScalars; ++s) scalar[s] = strength[s] * factor;
    Vec<T> g = load_n(at.g + i, n);
    if (clips) g = row_clip * max(-limit, min(limit, g));
    to.w = w;
    to.g = g;
    for (int s = 0; s < Rule::kSlots; ++s) to.slot[s] = load_n(at.slot[s] + i, n);
    Vec<T> pull = penalty.gradient(w, center, scalar);
    if (group_pull) pull += *group_pull * w;
    if (at.pull) pull += load_n(at.pull + i, n);
    if constexpr (!Rule::kDecoupled) g += pull;
    Vec<T> next = w - Rule::step(g, to.slot, rule, to.prox_step);
    if constexpr (Rule::kDecoupled) next -= to.prox_step * pull;
    to.next = penalty.prox(next, center, to.prox_step, scalar);
    to.value = penalty.value(w, center, scalar);
  }

  // What the step of the i-th weight reads, into the second cache.
  NORMRNN_INLINE void fetch(int64_t i) const {
    __builtin_prefetch(at.w + i, 0, 2);
    __builtin_prefetch(at.g + i, 0, 2);
    for (int s = 0; s < Rule::kSlots; ++s) __builtin_prefetch(at.slot[s] + i, 0, 2);
  }

  const UpdateTensor<T> at;  // a copy, which stores to weights leave as it is
  const Penalty penalty;
  const bool clips;
  Vec<T> rule[kMaxScalars], strength[kMaxScalars], clip, limit;
};

// What steps are summed up to: the penalty of w, the weights before the step, and squares and
// products of what the names say. The last three are of groups: w w, d w with the change d, and
// products of the weights after the step and their step sizes.
template <class T>
struct BundleSums {
  Vec<T> penalty{}, grad{}, after{}, change{}, before{}, cross{}, weighted{};
};
struct StepSums {
  // The sums of a bundle in T, or in double.
  template <class Sums>
  NORMRNN_INLINE void add(const Sums& sums) {
    add_to(penalty, sums.penalty);
    add_to(grad, sums.grad);
    add_to(after, sums.after);
    add_to(change, sums.change);
    add_to(before, sums.before);
    add_to(cross, sums.cross);
    add_to(weighted, sums.weighted);
  }
  NORMRNN_INLINE void finish(UpdateSums& sums) const {
    sums.penalty = total(penalty);
    sums.grad_squares = total(grad);
    sums.update_squares = total(change);
    sums.param_squares = total(after);
  }
  static NORMRNN_INLINE double total(const Doubles (&sum)[2]) {
    return sum_lanes<double>(sum[0] + sum[1]);
  }
  Doubles penalty[2] = {}, grad[2] = {}, after[2] = {}, change[2] = {}, before[2] = {},
          cross[2] = {}, weighted[2] = {};
};

// A bundle whose steps are taken. grad, step_size: null where they are not summed up.
template <class T>
struct Taken {
  const T* after;
  const Vec<T>*before, *grad, *step_size;
  NORMRNN_INLINE Vec<T> next(const Bundle& b, int j) const {
    return load_n(after + b.first + j * b.stride, b.lanes);
  }
  NORMRNN_INLINE Vec<T> scaled(const Bundle& b, int j) const {
    return first_lanes<T>(next(b, j) * step_size[j], b.lanes);
  }
};

// Whether no weight has changed: many do not where a step is next to nothing.
template <class T>
NORMRNN_INLINE bool is_still(const Taken<T>& taken, const Bundle& b) {
  Vec<T> most{};
  for (int j = 0; j < b.count; ++j) {
    const Vec<T> d = taken.next(b, j) - taken.before[j];
    most = max(most, max(d, -d));
  }
  return all_zero(most);
}

// Whether sums in T lack squares that are too small for it. Taken by value: the address of what a
// loop sums up must not leave it.
template <bool kGroups, class T>
__attribute__((noinline)) bool lost_squares(const Taken<T>& taken, const Bundle& b, bool each,
                                            BundleSums<T> sums) {
  LostSquares lost;
  const auto look = [&](Vec<T> sum, auto value) __attribute__((always_inline)) {
    if (hold(sum, sum, each, b.lanes)) return;
    for (int j = 0; j < b.count; ++j) lost.look(value(j));
  };
  look(sums.change, [&](int j) { return taken.next(b, j) - taken.before[j]; });
  look(sums.after, [&](int j) { return taken.next(b, j); });
  if (taken.grad) look(sums.grad, [&](int j) { return taken.grad[j]; });
  if (kGroups) look(sums.before, [&](int j) { return taken.before[j]; });
  if (taken.step_size) look(sums.weighted, [&](int j) { return taken.scaled(b, j); });
  return lost.any();
}

template <bool kGroups, class T>
__attribute__((noinline, cold)) StepSums sum_in_double(const Taken<T>& taken, const Bundle& b) {
  StepSums sums;
  for (int j = 0; j < b.count; ++j) {
    const Vec<T> w = taken.before[j], next = taken.next(b, j);
    if (taken.grad) add_squares(sums.grad, taken.grad[j]);
    add_squares(sums.after, next);
    add_squares(sums.change, next - w);
    if (!kGroups) continue;
    add_squares(sums.before, w);
    add_products(sums.cross, next - w, w);
    if (taken.step_size) add_products(sums.weighted, taken.scaled(b, j), next);
  }
  return sums;
}

// Takes the steps of a bundle, clip(j) and pull(j) as in Stepper::take for its j-th vector, and
// calls add() with their sums. With groups, `keep` from the bundle's tensor on is where the weights
// before it and the step sizes go, if anywhere. What lies `ahead` elements further on is fetched, if
// that is not 0. Returns the last step size.
template <bool kGroups, class Rule, class Penalty, class T, class Clip, class Pull, class Add>
NORMRNN_INLINE Vec<T> take_bundle(const Stepper<Rule, Penalty, T>& steps, const Bundle& b,
                                  bool with_gradients, bool each, const cpu::StepKeep<T>& keep,
                                  int64_t ahead, Clip&& clip, Pull&& pull, Add&& add) {
  BundleSums<T> sums;
  Vec<T> old[kBundle], g[kBundle], h[kBundle];
  typename Stepper<Rule, Penalty, T>::Step one{};
  for (int j = 0; j < b.count; ++j) {
    const int64_t i = b.first + j * b.stride;
    steps.take(i, b.lanes, clip(j), pull(j), one);
    if (ahead) steps.fetch(i + ahead);
    store_n(steps.at.w + i, one.next, b.lanes);
    for (int s = 0; s < Rule::kSlots; ++s) store_n(steps.at.slot[s] + i, one.slot[s], b.lanes);
    const Vec<T> next = first_lanes<T>(one.next, b.lanes), d = next - one.w;
    old[j] = one.w;
    if constexpr (!Penalty::kNone) sums.penalty += first_lanes<T>(one.value, b.lanes);
    if (with_gradients) {
      g[j] = one.g;
      sums.grad += one.g * one.g;
    }
    sums.after += next * next;
    sums.change += d * d;
    if constexpr (kGroups) {
      sums.before += one.w * one.w;
      sums.cross += d * one.w;
      if (keep.w) {
        h[j] = one.prox_step;
        store_n(keep.w + i, one.w, b.lanes);
        store_n(keep.step_size + i, one.prox_step, b.lanes);
        sums.weighted += first_lanes<T>(next * one.prox_step, b.lanes) * next;
      }
    }
  }
  Vec<T> least = sums.after, most = max(sums.after, sums.change);
  const auto look = [&](Vec<T> squares) __attribute__((always_inline)) {
    least = min(least, squares);
    most = max(most, squares);
  };
  if (with_gradients) look(sums.grad);
  if (kGroups) look(sums.before);
  if (kGroups && keep.w) look(sums.weighted);
  const Taken<T> taken{steps.at.w, old, with_gradients ? g : nullptr,
                       kGroups && keep.w ? h : nullptr};
  const bool all_hold = hold(least, most, each, b.lanes) &&
                        (hold(sums.change, most, each, b.lanes) || is_still(taken, b));
  if (!all_hold && (!are_finite(most) || lost_squares<kGroups>(taken, b, each, sums))) {
    StepSums in_double = sum_in_double<kGroups>(taken, b);
    add_to(in_double.penalty, sums.penalty);
    add(in_double);
    return one.prox_step;
  }
  add(sums);
  return one.prox_step;
}

// Elements [begin, end) of a tensor without groups.
template <class Rule, class Penalty, class T>
void update_loop(const UpdateTensor<T>& at, const UpdateScale<T>& scale, int64_t begin, int64_t end,
                 UpdateSums& sums) {
  const Stepper<Rule, Penalty, T> steps(at, scale);
  StepSums total;
  for_bundles<T>(begin, end, [&](const Bundle& b) __attribute__((always_inline)) {
    take_bundle<false>(
        steps, b, scale.sum_gradients, false, cpu::StepKeep<T>{}, scale.ahead,
        [&](int) { return steps.clip; }, [](int) -> const Vec<T>* { return nullptr; },
        [&](const auto& sums) __attribute__((always_inline)) { total.add(sums); });
  });
  total.finish(sums);
}

template <class Rule, class T>
void update_rule(const UpdateTensor<T>& at, const UpdateScale<T>& scale, int64_t begin, int64_t end,
                 UpdateSums& sums) {
  using Loop =
      void (*)(const UpdateTensor<T>&, const UpdateScale<T>&, int64_t, int64_t, UpdateSums&);
#define NORMRNN_PENALTY(name, type)                                                          \
  {update_loop<Rule, std::conditional_t<type::kConstraint, NoPenalty, AsGradient<type>>, T>, \
   update_loop<Rule, AsProx<type>, T>},
  static constexpr Loop kLoops[][2] = {
#include "penalties/penalties.def"
  };
  const Loop loop = at.apply == Apply::kNone ? update_loop<Rule, NoPenalty, T>
                                             : kLoops[at.penalty][at.apply == Apply::kProx];
  loop(at, scale, begin, end, sums);
}

template <class T>
void update(int rule, const UpdateTensor<T>& at, const UpdateScale<T>& scale, int64_t begin,
            int64_t end, UpdateSums& sums) {
  using Loop =
      void (*)(const UpdateTensor<T>&, const UpdateScale<T>&, int64_t, int64_t, UpdateSums&);
#define NORMRNN_RULE(name, type) update_rule<type, T>,
  static constexpr Loop kRules[] = {
#include "rules/rules.def"
  };
  kRules[rule](at, scale, begin, end, sums);
}

// Check sum of the bit patterns: each step is a bijection of the lane's hash that carries every bit
// onwards, so that no sign flip or power of two cancels out.
template <class T>
uint64_t fingerprint(const T* values, int64_t count) {
  typedef uint32_t Words __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
  constexpr int kChains = 4;  // side by side, to hide the latency of the multiplication
  Words hash[kChains] = {};
  for (int64_t i = 0; i < count; i += kChains * kLanes<T>) {
#pragma GCC unroll 4
    for (int j = 0; j < kChains; ++j) {
      const int64_t at = i + j * kLanes<T>;
      const int n = int(max_of(0, min_of(kLanes<T>, count - at)));
      const Words mixed = hash[j] ^ (Words)load_n(values + at, n);
      hash[j] = ((mixed << 13) | (mixed >> 19)) * 0x9e3779b1u + uint32_t(j + 1);
    }
  }
  uint64_t sum = uint64_t(count);
  for (int j = 0; j < kChains; ++j) {
    for (int i = 0; i < NORMRNN_VECTOR_BYTES / 4; ++i) {
      sum = (sum ^ hash[j][i]) * 0xff51afd7ed558ccdu;
      sum ^= sum >> 33;
    }
  }
  return sum;
}

}  // namespace normrnn::NORMRNN_TARGET
