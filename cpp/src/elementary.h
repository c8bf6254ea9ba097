// Elementary functions on vectors: exp, tanh, logistic sigmoid, log(1 + u).
//
// One range reduction serves them all: x = k ln 2 + r with |r| <= ln2 / 2, a Taylor polynomial for
// exp(r) - 1 whose first dropped term is below half a unit in the last place, and 2^k put together
// in the exponent bits. Branch-free, no tables. NaN stays NaN, and tanh keeps the sign of zero.
#pragma once

#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

template <class T>
struct ExpTraits;

template <>
struct ExpTraits<float> {
  static constexpr float kLog2e = 1.44269504088896341f;
  static constexpr float kLn2High = 0.693145751953125f;  // 16 bits: k * high is exact
  static constexpr float kLn2Low = 1.42860682030941723e-6f;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves k in the low bits
  static constexpr int kMantissa = 23, kBias = 127, kDegree = 7;
  static constexpr float kExpLimit = 88.0f;   // on |x|: exp stays finite; at -88 it is 0
  static constexpr float kTanhLimit = 20.0f;  // on 2|x|: beyond, tanh rounds to 1
  static constexpr int kLogTerms = 9;
};

template <>
struct ExpTraits<double> {
  static constexpr double kLog2e = 1.44269504088896340736;
  static constexpr double kLn2High = 0.693147180369123816490;  // 32 bits
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int kMantissa = 52, kBias = 1023, kDegree = 13;
  static constexpr double kExpLimit = 708.0;
  static constexpr double kTanhLimit = 40.0;
  static constexpr int kLogTerms = 18;
};

constexpr double inverse_factorial(int n) { return n < 2 ? 1.0 : inverse_factorial(n - 1) / n; }

// exp(x) = scale + scale * tail for |x| <= kExpLimit, with tail = exp(r) - 1 and scale = 2^k.
template <class T>
NORMRNN_INLINE void split_exp(Vec<T> x, Vec<T>& scale, Vec<T>& tail) {
  using Traits = ExpTraits<T>;
  using I = typename Simd<T>::I;
  const Vec<T> shifted = x * Traits::kLog2e + Traits::kRound;
  const Vec<T> k = shifted - Traits::kRound;
  const Vec<T> r = (x - k * Traits::kLn2High) - k * Traits::kLn2Low;
  scale =
      (Vec<T>)(((I)shifted << Traits::kMantissa) + ((I{} + Traits::kBias) << Traits::kMantissa));
  // Horner over r^n / n!, n from kDegree down to 2; the term r itself is added last, unrounded.
  Vec<T> sum{};
#pragma GCC unroll 16
  for (int n = Traits::kDegree; n >= 2; --n) sum = sum * r + T(inverse_factorial(n));
  tail = sum * (r * r) + r;
}

template <class T>
NORMRNN_INLINE Vec<T> clamp(Vec<T> x, T limit) {  // comparisons are false for NaN, which passes
  x = x > limit ? splat(limit) : x;
  return x < -limit ? splat(-limit) : x;
}

template <class T>
NORMRNN_INLINE Vec<T> exp_of(Vec<T> x) {
  Vec<T> scale, tail;
  split_exp<T>(clamp<T>(x, ExpTraits<T>::kExpLimit), scale, tail);
  return scale + scale * tail;
}

template <class T>
NORMRNN_INLINE Vec<T> sigmoid_of(Vec<T> x) {
  return splat(T(1)) / (exp_of<T>(-x) + T(1));
}

// tanh|x| = e / (e + 2) with e = exp(2|x|) - 1: no cancellation at either end.
template <class T>
NORMRNN_INLINE Vec<T> tanh_of(Vec<T> x) {
  using I = typename Simd<T>::I;
  const I sign = (I)splat(T(-0.0));
  const Vec<T> twice = (Vec<T>)((I)x & ~sign) * T(2);
  Vec<T> scale, tail;
  split_exp<T>(clamp<T>(twice, ExpTraits<T>::kTanhLimit), scale, tail);
  const Vec<T> e = scale * tail + (scale - T(1));
  return (Vec<T>)(((I)x & sign) | (I)(e / (e + T(2))));
}

// log(1 + u) for u in [0, 1], as 2 artanh(u / (2 + u)).
template <class T>
NORMRNN_INLINE Vec<T> log1p_of(Vec<T> u) {
  const Vec<T> s = u / (u + T(2));
  const Vec<T> square = s * s;
  Vec<T> sum{};
#pragma GCC unroll 32
  for (int n = ExpTraits<T>::kLogTerms; n >= 1; --n) sum = (sum + T(1.0 / (2 * n + 1))) * square;
  return T(2) * s * sum + T(2) * s;
}

// The names the maths headers use; the overloads pick the element type from the vector type.
#define NORMRNN_OVERLOAD(name)                                                 \
  NORMRNN_INLINE Vec<float> name(Vec<float> x) { return name##_of<float>(x); } \
  NORMRNN_INLINE Vec<double> name(Vec<double> x) { return name##_of<double>(x); }
NORMRNN_OVERLOAD(exp)
NORMRNN_OVERLOAD(sigmoid)
NORMRNN_OVERLOAD(tanh)
NORMRNN_OVERLOAD(log1p)
#undef NORMRNN_OVERLOAD

template <class V>
NORMRNN_INLINE V abs(V x) {
  return x < 0 ? -x : x;
}

template <class V>
NORMRNN_INLINE V max(V a, V b) {
  return a > b ? a : b;
}

// Square roots lane by lane: the compiler turns the loop into the vector instruction.
template <class T>
NORMRNN_INLINE Vec<T> sqrt_of(Vec<T> x) {
  Vec<T> root;
  for (int i = 0; i < kLanes<T>; ++i) {
    if constexpr (sizeof(T) == 4) {
      root[i] = __builtin_sqrtf(x[i]);
    } else {
      root[i] = __builtin_sqrt(x[i]);
    }
  }
  return root;
}
NORMRNN_INLINE Vec<float> sqrt(Vec<float> x) { return sqrt_of<float>(x); }
NORMRNN_INLINE Vec<double> sqrt(Vec<double> x) { return sqrt_of<double>(x); }

}  // namespace normrnn::NORMRNN_TARGET
