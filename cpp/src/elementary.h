// Elementary functions on vectors: exp, tanh, logistic sigmoid, log(1 + u).
//
// One range reduction serves them all: x = k ln 2 + r with |r| <= ln2 / 2, a polynomial for
// exp(r) - 1 with an error below a quarter of a unit in the last place, and 2^k put together in the
// exponent bits. Branch-free; tables only for tanh with AVX-512. NaN stays NaN, and tanh keeps the
// sign of zero.
//
// A core keeps some hundred instructions in view, not many vectors' worth, so what counts is the
// longest chain of dependent ones: hence the polynomial in pairs (Estrin), not term by term.
#pragma once

#include "tanh_table.h"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

// kExpTerms: minimax polynomial of (exp(r) - 1 - r) / r^2 on |r| <= ln2 / 2, from the constant up,
// the error weighted with r: found by the Remez exchange algorithm in 60 digits.
template <class T>
struct ExpTraits;

template <>
struct ExpTraits<float> {
  static constexpr float kLog2e = 1.44269504088896341f;
  static constexpr float kLn2High = 0.693145751953125f;  // 16 bits: k * high is exact
  static constexpr float kLn2Low = 1.42860682030941723e-6f;
  static constexpr float kRound = 12583039.0f;  // 1.5 * 2^23 + 127: leaves k + 127 in the low bits
  static constexpr int kMantissa = 23, kTerms = 5;
  static constexpr float kExpLimit = 88.0f;   // on |x|: exp stays finite; at -88 it is 0
  static constexpr float kTanhLimit = 20.0f;  // on 2|x|: beyond, tanh rounds to 1
  static constexpr int kLogTerms = 9;
  static constexpr float kExpTerms[kTerms] = {0.50000000584340711792f, 0.16666545252001201995f,
                                              0.041666289821188484941f, 0.0083663741178993590734f,
                                              0.0013946049199560282286f};
};

template <>
struct ExpTraits<double> {
  static constexpr double kLog2e = 1.44269504088896340736;
  static constexpr double kLn2High = 0.693147180369123816490;  // 32 bits
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441056767.0;  // 1.5 * 2^52 + 1023
  static constexpr int kMantissa = 52, kTerms = 10;
  static constexpr double kExpLimit = 709.0;
  static constexpr double kTanhLimit = 40.0;
  static constexpr int kLogTerms = 18;
  static constexpr double kExpTerms[kTerms] = {0.5000000000000004595,    0.16666666666666684386,
                                               0.041666666666581807524,  0.008333333333315493235,
                                               0.0013888888930264589472, 0.00019841269901326977641,
                                               2.4801506568583819717e-5, 2.7557229288340044525e-6,
                                               2.7625597663143495271e-7, 2.5114100287455065603e-8};
};

// Sum of term[first + i] r^i, i in [0, kCount), kCount at most 16: halves of halves.
// power[j] is r^(2^j).
template <class T, int kFirst, int kCount>
NORMRNN_INLINE Vec<T> polynomial(const Vec<T> (&power)[4]) {
  if constexpr (kCount == 1) {
    return splat(ExpTraits<T>::kExpTerms[kFirst]);
  } else {
    constexpr int kLevel = kCount > 8 ? 3 : kCount > 4 ? 2 : kCount > 2 ? 1 : 0;
    constexpr int kLow = 1 << kLevel;
    return polynomial<T, kFirst + kLow, kCount - kLow>(power) * power[kLevel] +
           polynomial<T, kFirst, kLow>(power);
  }
}

// exp(x) = scale + scale * tail for |x| <= kExpLimit, with tail = exp(r) - 1 and scale = 2^k.
template <class T>
NORMRNN_INLINE void split_exp(Vec<T> x, Vec<T>& scale, Vec<T>& tail) {
  using Traits = ExpTraits<T>;
  using I = typename Simd<T>::I;
  const Vec<T> shifted = x * Traits::kLog2e + Traits::kRound;
  const Vec<T> k = shifted - Traits::kRound;
  const Vec<T> r = (x - k * Traits::kLn2High) - k * Traits::kLn2Low;
  scale = (Vec<T>)((I)shifted << Traits::kMantissa);
  Vec<T> power[4] = {r, r * r};
  power[2] = power[1] * power[1];
  power[3] = power[2] * power[2];
  tail = polynomial<T, 0, Traits::kTerms>(power) * power[1] + r;  // r itself last, unrounded
}

template <class T>
NORMRNN_INLINE Vec<T> in_range_of_exp(Vec<T> x) {  // NaN passes
  const Vec<T> limit = splat(ExpTraits<T>::kExpLimit);
  return max(-limit, min(limit, x));
}

template <class T>
NORMRNN_INLINE Vec<T> exp_of(Vec<T> x) {
  Vec<T> scale, tail;
  split_exp<T>(in_range_of_exp<T>(x), scale, tail);
  return scale + scale * tail;
}

template <class T>
NORMRNN_INLINE Vec<T> sigmoid_of(Vec<T> x) {
  Vec<T> scale, tail;
  split_exp<T>(in_range_of_exp<T>(-x), scale, tail);
  // 1 + exp(-x) in two roundings, where 1 + exp_of(-x) has three: up to 2.5 units in the last
  // place.
  return splat(T(1)) / ((scale * tail + T(1)) + scale);
}

template <class T>
NORMRNN_INLINE Vec<T> abs_of(Vec<T> x) {
  using I = typename Simd<T>::I;
  return (Vec<T>)((I)x & ~(I)splat(T(-0.0)));
}

// tanh|x| = e / (e + 2) with e = exp(2|x|) - 1: no cancellation at either end. Three roundings of a
// small e add up to 2.6 units in the last place of float32. e/2 - (e/2) e / (e + 2) is the same,
// and the quotient's roundings count little in it; without FMA what the sum e was rounded by is put
// back, too.
template <class T>
NORMRNN_INLINE Vec<T> tanh_of(Vec<T> x) {
  using I = typename Simd<T>::I;
  const I sign = (I)splat(T(-0.0));
  const Vec<T> size = abs_of<T>(x);
  Vec<T> scale, tail;
  split_exp<T>(min(splat(ExpTraits<T>::kTanhLimit), size + size), scale, tail);
  const Vec<T> e = scale * tail + (scale - T(1));
  Vec<T> result = e / (e + T(2));
  if constexpr (sizeof(T) == 4) {
    const Vec<T> half = e * T(0.5);
    Vec<T> less = half * result;
#if !defined(__FMA__) && !defined(__FP_FAST_FMAF)
    less -= (scale * tail - (e - (scale - T(1)))) * T(0.35);
#endif
    result = size < T(0.35) ? half - less : result;
  }
  return (Vec<T>)(((I)x & sign) | (I)result);
}

#if defined(__AVX512F__)
// A polynomial for each of 32 intervals instead, which two registers hold: half the time of the
// above, and half its error.
template <>
NORMRNN_INLINE Vec<float> tanh_of<float>(Vec<float> x) {
  using I = Simd<float>::I;
  const Vec<float> size = min(splat(kTanhLimit), abs_of<float>(x));
  const I interval = (I)max(splat(kTanhFirst), size) >> 21;
  // All looked up before the sum: GCC takes the instruction for one that may throw, and joins no
  // product and sum across it.
  Vec<float> term[7];
  for (int i = 0; i < 7; ++i) term[i] = look_up(kTanhTable[i], interval);
  const Vec<float> r = size - term[0];
  Vec<float> sum = term[6];
  for (int i = 5; i >= 1; --i) sum = sum * r + term[i];
  return (Vec<float>)(((I)x & (I)splat(-0.0f)) | (I)sum);
}
#endif

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

// 1 or -1, and 0 or NaN where x is.
template <class T>
NORMRNN_INLINE Vec<T> sign_of(Vec<T> x) {
  using I = typename Simd<T>::I;
  const Vec<T> one = (Vec<T>)(((I)x & (I)splat(T(-0.0))) | (I)splat(T(1)));
  return abs_of<T>(x) > 0 ? one : x;
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

// The names the maths headers use; the overloads pick the element type from the vector type.
#define NORMRNN_OVERLOAD(name)                                                 \
  NORMRNN_INLINE Vec<float> name(Vec<float> x) { return name##_of<float>(x); } \
  NORMRNN_INLINE Vec<double> name(Vec<double> x) { return name##_of<double>(x); }
NORMRNN_OVERLOAD(abs)
NORMRNN_OVERLOAD(exp)
NORMRNN_OVERLOAD(log1p)
NORMRNN_OVERLOAD(sigmoid)
NORMRNN_OVERLOAD(sign)
NORMRNN_OVERLOAD(sqrt)
NORMRNN_OVERLOAD(tanh)
#undef NORMRNN_OVERLOAD

}  // namespace normrnn::NORMRNN_TARGET
