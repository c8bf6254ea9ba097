// The one update step: gradient, penalty, rule, prox, and their sums, in one pass over memory.
// Weights in groups take it in update-groups-inl.h.
#pragma once

#include "cpu/kernels.h"
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
  template <class V>
  static V prox(V w, V, V, const V*) {
    return w;
  }
};

template <class Penalty>
struct AsProx : Penalty {
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
      : at(tensor), penalty(how), clip(splat(scale.clip_scale)), limit(splat(scale.clip_value)) {
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
    Vec<T> g = row_clip * max(-limit, min(limit, load_n(at.g + i, n)));
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

  const UpdateTensor<T>& at;
  const Penalty penalty;
  Vec<T> rule[kMaxScalars], strength[kMaxScalars], clip, limit;
};

template <class T, class Step>
NORMRNN_INLINE void write(const UpdateTensor<T>& at, int64_t i, int n, int slots,
                          const Step& step) {
  store_n(at.w + i, step.next, n);
  for (int s = 0; s < slots; ++s) store_n(at.slot[s] + i, step.slot[s], n);
}

// Sums up steps. The penalty is that of the weights before the step, summed in T: for blocks of a
// few thousand elements.
template <class T>
struct StepSums {
  template <class Step>
  NORMRNN_INLINE void add_penalty(const Step& step, int n) {
    penalty += first_lanes<T>(step.value, n);
  }
  template <class Step>
  NORMRNN_INLINE void add_gradient(const Step& step) {
    if (with_gradients) add_squares(grad, step.g);
  }
  NORMRNN_INLINE void add_weights(Vec<T> before, Vec<T> after, int n) {
    add_squares(update, first_lanes<T>(after - before, n));
    add_squares(param, first_lanes<T>(after, n));
  }
  NORMRNN_INLINE void finish(UpdateSums& sums) const {
    sums.penalty = sum_lanes<T>(penalty);
    sums.grad_squares = sum_lanes<double>(grad[0] + grad[1]);
    sums.update_squares = sum_lanes<double>(update[0] + update[1]);
    sums.param_squares = sum_lanes<double>(param[0] + param[1]);
  }
  const bool with_gradients;
  Vec<T> penalty{};
  Doubles grad[2] = {}, update[2] = {}, param[2] = {};
};

// Elements [begin, end) of a tensor without groups.
template <class Rule, class Penalty, class T>
void update_loop(const UpdateTensor<T>& at, const UpdateScale<T>& scale, int64_t begin, int64_t end,
                 UpdateSums& sums) {
  using Steps = Stepper<Rule, Penalty, T>;
  const Steps steps(at, scale);
  StepSums<T> total{scale.sum_gradients};
  const auto step = [&](int64_t i, int n) __attribute__((always_inline)) {
    typename Steps::Step one;
    steps.take(i, n, steps.clip, nullptr, one);
    write(at, i, n, Rule::kSlots, one);
    total.add_penalty(one, n);
    total.add_gradient(one);
    total.add_weights(one.w, one.next, n);
  };
  int64_t i = begin;
  for (; i + kLanes<T> <= end; i += kLanes<T>) step(i, kLanes<T>);  // no question per vector
  if (i < end) step(i, int(end - i));
  total.finish(sums);
}

template <class Rule, class T>
void update_rule(const UpdateTensor<T>& at, const UpdateScale<T>& scale, int64_t begin, int64_t end,
                 UpdateSums& sums) {
  using Loop =
      void (*)(const UpdateTensor<T>&, const UpdateScale<T>&, int64_t, int64_t, UpdateSums&);
#define NORMRNN_PENALTY(name, type) \
  {update_loop<Rule, AsGradient<type>, T>, update_loop<Rule, AsProx<type>, T>},
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

// Sum of squares in double; NaN or infinity exactly where a value is, for float32.
template <class T>
double squares(const T* values, int64_t count) {
  constexpr int kL = kLanes<T>;
  Doubles even[2] = {}, odd[2] = {};  // side by side, to hide the latency of the additions
  int64_t i = 0;
  for (; i + 2 * kL <= count; i += 2 * kL) {
    add_squares(even, load(values + i));
    add_squares(odd, load(values + i + kL));
  }
  for (; i < count; i += kL) add_squares(even, load_n(values + i, int(min_of(kL, count - i))));
  return sum_lanes<double>((even[0] + odd[0]) + (even[1] + odd[1]));
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
