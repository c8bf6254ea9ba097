// Vectors of one target, by the compiler's vector extensions: no dependency, and no intrinsics but
// where GCC misses the instruction (minimum, maximum, a table in registers, float to double).
//
// Everything in here lives in the target's own namespace (NORMRNN_TARGET): the linker merges inline
// functions of the same name, and one compiled for a newer CPU must never stand in for another.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/bf16.h"
#include "fn.h"

#define NORMRNN_INLINE inline __attribute__((always_inline))

namespace normrnn::NORMRNN_TARGET {

template <class T>
struct Simd;

template <>
struct Simd<float> {
  typedef float V __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
  typedef int32_t I __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
  typedef float Half __attribute__((vector_size(NORMRNN_VECTOR_BYTES / 2)));
};

template <>
struct Simd<double> {
  typedef double V __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
  typedef int64_t I __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
};

// Two bfloat16 numbers, element 2i in the low half and 2i + 1 in the high one: what a product with
// bfloat16 operands takes at a time.
using cpu::Bf16Pair;
template <>
struct Simd<Bf16Pair> {
  typedef uint32_t V __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
};

template <class T>
using Vec = typename Simd<T>::V;

template <class T>
constexpr int kLanes = NORMRNN_VECTOR_BYTES / int(sizeof(T));

template <class T>
NORMRNN_INLINE Vec<T> splat(T value) {
  return value - Vec<T>{};  // one broadcast: x - 0 is x, where x + 0 is not if x is -0
}

NORMRNN_INLINE Vec<Bf16Pair> splat(Bf16Pair value) { return value.bits - Vec<Bf16Pair>{}; }

template <class T>
NORMRNN_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
NORMRNN_INLINE void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// The first n lanes; the others read as 0 and are never touched in memory.
template <class T>
NORMRNN_INLINE Vec<T> load_n(const T* p, int n) {
  if (n >= kLanes<T>) return load(p);
  T lanes[kLanes<T>] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <class T>
NORMRNN_INLINE void store_n(T* p, Vec<T> v, int n) {
  if (n >= kLanes<T>) return store(p, v);
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

// f(i, n) for the vectors of a row of `count` numbers, n of them in the one at i.
template <class T, class F>
NORMRNN_INLINE void over_row(int64_t count, F&& f) {
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) f(i, kLanes<T>);
  if (i < count) f(i, int(count - i));
}

// v with the lanes from the n-th on set to 0.
template <class T>
NORMRNN_INLINE Vec<T> first_lanes(Vec<T> v, int n) {
  if (n >= kLanes<T>) return v;
  T lanes[kLanes<T>];
  store(lanes, v);
  return load_n(lanes, n);
}

// a < b ? a : b, and a > b ? a : b: where either is NaN, b.
#if defined(__x86_64__)
#if NORMRNN_VECTOR_BYTES == 64  // GCC 12 warns of the unmasked form, which is the same instruction
#define NORMRNN_MINMAX(which, a, b) _mm512_maskz_##which(-1, a, b)
#elif NORMRNN_VECTOR_BYTES == 32
#define NORMRNN_MINMAX(which, a, b) _mm256_##which(a, b)
#else
#define NORMRNN_MINMAX(which, a, b) _mm_##which(a, b)
#endif
NORMRNN_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return NORMRNN_MINMAX(min_ps, a, b); }
NORMRNN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return NORMRNN_MINMAX(max_ps, a, b); }
NORMRNN_INLINE Vec<double> min(Vec<double> a, Vec<double> b) {
  return NORMRNN_MINMAX(min_pd, a, b);
}
NORMRNN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return NORMRNN_MINMAX(max_pd, a, b);
}
#undef NORMRNN_MINMAX
#else
NORMRNN_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return a < b ? a : b; }
NORMRNN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return a > b ? a : b; }
NORMRNN_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return a < b ? a : b; }
NORMRNN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return a > b ? a : b; }
#endif

#if defined(__AVX512F__)
// table[i % 32] in each lane.
NORMRNN_INLINE Vec<float> look_up(const float (&table)[32], Simd<float>::I i) {
  return _mm512_permutex2var_ps(load(table), (__m512i)i, load(table + 16));
}
#endif

// sum += a * b, and the same for pairs, high halves first: exact products, each sum rounded once.
// Where the machine has no such instruction, two multiply-adds give the same bits.
NORMRNN_INLINE void multiply_add(Vec<float>& sum, Vec<float> a, Vec<float> b) { sum += a * b; }
NORMRNN_INLINE void multiply_add(Vec<double>& sum, Vec<double> a, Vec<double> b) { sum += a * b; }
NORMRNN_INLINE void multiply_add(Vec<float>& sum, Vec<Bf16Pair> a, Vec<Bf16Pair> b) {
#if defined(__AVX512BF16__)
  sum = _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
  sum += (Vec<float>)(a & 0xffff0000u) * (Vec<float>)(b & 0xffff0000u);
  sum += (Vec<float>)(a << 16) * (Vec<float>)(b << 16);
#endif
}

// Rounded to bfloat16, to nearest and even, in the low half of each lane. Denormals become 0, as
// everywhere in a task.
NORMRNN_INLINE Vec<Bf16Pair> to_bf16(Vec<float> x) {
  typedef Vec<Bf16Pair> U;
  const U bits = (U)x;
  const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U quiet_nan = (bits >> 16) | 0x40u, zero = (bits >> 16) & 0x8000u;
  const U number = (bits & 0x7f800000u) == 0u ? zero : rounded;
  return (bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : number;
}

// Row elements as rows of pairs: kLanes numbers become half as many pairs.
NORMRNN_INLINE void store_as(Bf16Pair* to, Vec<float> x) {
  typedef uint16_t Halves __attribute__((vector_size(NORMRNN_VECTOR_BYTES / 2)));
  const Halves halves = __builtin_convertvector(to_bf16(x), Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}

// Sum of the lanes in double, in a fixed order: by halves, so that few additions wait for each
// other.
template <class T, int kCount>
NORMRNN_INLINE double sum_of(const T* lanes) {
  if constexpr (kCount == 1) {
    return double(lanes[0]);
  } else {
    return sum_of<T, kCount / 2>(lanes) + sum_of<T, kCount / 2>(lanes + kCount / 2);
  }
}
template <class T>
NORMRNN_INLINE double sum_lanes(Vec<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
  return sum_of<T, kLanes<T>>(lanes);
}

NORMRNN_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
NORMRNN_INLINE int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

// Sum of squares that neither overflows nor loses small float32 terms: accumulated in double.
typedef double Doubles __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));

NORMRNN_INLINE Doubles widen(Simd<float>::Half half) {
#if defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 64  // GCC 12 does it in quarters
  return _mm512_maskz_cvtps_pd(-1, half);
#elif defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 32
  return _mm256_cvtps_pd(half);
#else
  return __builtin_convertvector(half, Doubles);
#endif
}

NORMRNN_INLINE void add_squares(Doubles (&sum)[2], Vec<float> v) {
  Simd<float>::Half half[2];
  __builtin_memcpy(half, &v, sizeof v);
  for (int i = 0; i < 2; ++i) {
    const Doubles d = widen(half[i]);
    sum[i] += d * d;
  }
}

NORMRNN_INLINE void add_squares(Doubles (&sum)[2], Vec<double> v) { sum[0] += v * v; }

// Bit i: whether a[i] >= b.
NORMRNN_INLINE uint32_t at_least(Vec<float> a, float b) {
#if defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 64
  return _mm512_cmp_ps_mask(a, splat(b), _CMP_GE_OQ);
#elif defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 32
  return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a, splat(b), _CMP_GE_OQ)));
#elif defined(__x86_64__)
  return uint32_t(_mm_movemask_ps(_mm_cmpge_ps(a, splat(b))));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes<float>; ++i) bits |= uint32_t(a[i] >= b) << i;
  return bits;
#endif
}

// The same of products of two.
NORMRNN_INLINE void add_products(Doubles (&sum)[2], Vec<float> a, Vec<float> b) {
  Simd<float>::Half halves[2][2];
  __builtin_memcpy(halves[0], &a, sizeof a);
  __builtin_memcpy(halves[1], &b, sizeof b);
  for (int i = 0; i < 2; ++i) sum[i] += widen(halves[0][i]) * widen(halves[1][i]);
}

NORMRNN_INLINE void add_products(Doubles (&sum)[2], Vec<double> a, Vec<double> b) {
  sum[0] += a * b;
}

// The same of the values themselves.
NORMRNN_INLINE void add_to(Doubles (&sum)[2], Vec<float> v) {
  Simd<float>::Half half[2];
  __builtin_memcpy(half, &v, sizeof v);
  for (int i = 0; i < 2; ++i) sum[i] += widen(half[i]);
}

NORMRNN_INLINE void add_to(Doubles (&sum)[2], Vec<double> v) { sum[0] += v; }

NORMRNN_INLINE void add_to(Doubles (&sum)[2], const Doubles (&other)[2]) {
  sum[0] += other[0];
  sum[1] += other[1];
}

}  // namespace normrnn::NORMRNN_TARGET
