// Vectors of one target, by the compiler's vector extensions: no dependency, and no intrinsics but
// for the minimum and maximum, which GCC does not find by itself.
//
// Everything in here lives in the target's own namespace (NORMRNN_TARGET): the linker merges inline
// functions of the same name, and one compiled for a newer CPU must never stand in for another.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

template <class T>
using Vec = typename Simd<T>::V;

template <class T>
constexpr int kLanes = NORMRNN_VECTOR_BYTES / int(sizeof(T));

template <class T>
NORMRNN_INLINE Vec<T> splat(T value) {
  return value - Vec<T>{};  // one broadcast: x - 0 is x, where x + 0 is not if x is -0
}

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

// The lesser (greater) of x and the limit; NaN passes: the instructions return the second operand
// where either is NaN.
#if defined(__x86_64__)
#if NORMRNN_VECTOR_BYTES == 64  // GCC 12 warns of the unmasked form, which is the same instruction
#define NORMRNN_MINMAX(which, a, b) _mm512_maskz_##which(-1, a, b)
#elif NORMRNN_VECTOR_BYTES == 32
#define NORMRNN_MINMAX(which, a, b) _mm256_##which(a, b)
#else
#define NORMRNN_MINMAX(which, a, b) _mm_##which(a, b)
#endif
template <class T>
NORMRNN_INLINE Vec<T> at_most(Vec<T> x, T limit) {
  if constexpr (sizeof(T) == 4) return NORMRNN_MINMAX(min_ps, splat(limit), x);
  if constexpr (sizeof(T) == 8) return NORMRNN_MINMAX(min_pd, splat(limit), x);
}
template <class T>
NORMRNN_INLINE Vec<T> at_least(Vec<T> x, T limit) {
  if constexpr (sizeof(T) == 4) return NORMRNN_MINMAX(max_ps, splat(limit), x);
  if constexpr (sizeof(T) == 8) return NORMRNN_MINMAX(max_pd, splat(limit), x);
}
#undef NORMRNN_MINMAX
#else
template <class T>
NORMRNN_INLINE Vec<T> at_most(Vec<T> x, T limit) {
  return limit < x ? splat(limit) : x;
}
template <class T>
NORMRNN_INLINE Vec<T> at_least(Vec<T> x, T limit) {
  return limit > x ? splat(limit) : x;
}
#endif

// Sum of the lanes in double, always in lane order.
template <class T>
NORMRNN_INLINE double sum_lanes(Vec<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
  double sum = 0;
  for (int i = 0; i < kLanes<T>; ++i) sum += double(lanes[i]);
  return sum;
}

NORMRNN_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
NORMRNN_INLINE int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

// Sum of squares that neither overflows nor loses small float32 terms: accumulated in double.
typedef double Doubles __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));

NORMRNN_INLINE void add_squares(Doubles (&sum)[2], Vec<float> v) {
  using Half = Simd<float>::Half;
  Half half[2];
  __builtin_memcpy(half, &v, sizeof v);
  for (int i = 0; i < 2; ++i) {
    const Doubles d = __builtin_convertvector(half[i], Doubles);
    sum[i] += d * d;
  }
}

NORMRNN_INLINE void add_squares(Doubles (&sum)[2], Vec<double> v) { sum[0] += v * v; }

}  // namespace normrnn::NORMRNN_TARGET
