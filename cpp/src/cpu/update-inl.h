// The one update loop: gradient, penalty, rule, prox and their sums in one pass over memory.
#pragma once

#include "cpu/kernels.h"
#include "penalties/penalties.def"
#include "rules/rules.def"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::UpdateSums;

struct NoPenalty {
  template <class V>
  static V value(V, V, const V*) {
    return V{};
  }
  template <class V>
  static V gradient(V, V, const V*) {
    return V{};
  }
  template <class V>
  static V prox(V w, V, V, const V*) {
    return w;
  }
};

// Elements [begin, end) of one tensor. penalty is summed at the weights before the step.
template <class Rule, class Penalty, bool kProx, class T>
void update_loop(const UpdateTensor<T>& at, const T* rule_scalars, T clip_scale, int64_t begin,
                 int64_t end, UpdateSums& sums) {
  constexpr int kL = kLanes<T>;
  Vec<T> rule[kMaxScalars], penalty[kMaxScalars];
  for (int i = 0; i < kMaxScalars; ++i) {
    rule[i] = splat(rule_scalars[i]);
    penalty[i] = splat(at.penalty_scalar[i]);
  }
  const Vec<T> clip = splat(clip_scale);
  Vec<T> penalty_sum{};
  Doubles grad_sum[2] = {}, update_sum[2] = {}, param_sum[2] = {};
  // Lanes past the n-th hold no element: they are read as 0 and count as 0.
  const auto step = [&](int64_t i, int n) __attribute__((always_inline)) {
    const Vec<T> w = load_n(at.w + i, n), given = load_n(at.g + i, n);
    const Vec<T> center = at.center ? load_n(at.center + i, n) : Vec<T>{};
    Vec<T> g = clip * given;
    Vec<T> slot[Rule::kSlots + 1];
    for (int s = 0; s < Rule::kSlots; ++s) slot[s] = load_n(at.slot[s] + i, n);
    const Vec<T> pull = kProx ? Vec<T>{} : Penalty::gradient(w, center, penalty);
    if constexpr (!Rule::kDecoupled) g += pull;
    Vec<T> prox_step;
    Vec<T> next = w - Rule::step(g, slot, rule, prox_step);
    if constexpr (Rule::kDecoupled) next -= prox_step * pull;
    if constexpr (kProx) next = Penalty::prox(next, center, prox_step, penalty);
    store_n(at.w + i, next, n);
    for (int s = 0; s < Rule::kSlots; ++s) store_n(at.slot[s] + i, slot[s], n);
    penalty_sum += first_lanes<T>(Penalty::value(w, center, penalty), n);
    add_squares(grad_sum, given);
    add_squares(update_sum, first_lanes<T>(next - w, n));
    add_squares(param_sum, first_lanes<T>(next, n));
  };
  int64_t i = begin;
  for (; i + kL <= end; i += kL) step(i, kL);  // inlined with a constant: no question per vector
  if (i < end) step(i, int(end - i));
  sums.penalty = sum_lanes<T>(penalty_sum);
  sums.grad_squares = sum_lanes<double>(grad_sum[0] + grad_sum[1]);
  sums.update_squares = sum_lanes<double>(update_sum[0] + update_sum[1]);
  sums.param_squares = sum_lanes<double>(param_sum[0] + param_sum[1]);
}

template <class Rule, class T>
void update_rule(const UpdateTensor<T>& at, const T* rule_scalars, T clip_scale, int64_t begin,
                 int64_t end, UpdateSums& sums) {
  using Loop = void (*)(const UpdateTensor<T>&, const T*, T, int64_t, int64_t, UpdateSums&);
#define NORMRNN_PENALTY(name, type) \
  {update_loop<Rule, type, false, T>, update_loop<Rule, type, true, T>},
  static constexpr Loop kLoops[][2] = {
#include "penalties/penalties.def"
  };
  const Loop loop = at.apply == Apply::kNone ? update_loop<Rule, NoPenalty, false, T>
                                             : kLoops[at.penalty][at.apply == Apply::kProx];
  loop(at, rule_scalars, clip_scale, begin, end, sums);
}

template <class T>
void update(int rule, const UpdateTensor<T>& at, const T* rule_scalars, T clip_scale, int64_t begin,
            int64_t end, UpdateSums& sums) {
  using Loop = void (*)(const UpdateTensor<T>&, const T*, T, int64_t, int64_t, UpdateSums&);
#define NORMRNN_RULE(name, type) update_rule<type, T>,
  static constexpr Loop kRules[] = {
#include "rules/rules.def"
  };
  kRules[rule](at, rule_scalars, clip_scale, begin, end, sums);
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
