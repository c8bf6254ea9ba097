// Elementary functions on plain numbers, float and double: what elementary.h is for vectors.
// Devices run the compiler's own accurate functions (at most 2 units in the last place; no fast
// maths).
#pragma once

#include <cmath>
#include <cstdint>

#include "fn.h"

#define NORMRNN_INLINE NORMRNN_FN inline

namespace normrnn::NORMRNN_TARGET {

#define NORMRNN_FUNCTION(name)                                   \
  NORMRNN_FN inline float name(float x) { return ::name##f(x); } \
  NORMRNN_FN inline double name(double x) { return ::name(x); }
NORMRNN_FUNCTION(exp)
NORMRNN_FUNCTION(log1p)
NORMRNN_FUNCTION(sqrt)
NORMRNN_FUNCTION(tanh)
#undef NORMRNN_FUNCTION

NORMRNN_FN inline float abs(float x) { return ::fabsf(x); }
NORMRNN_FN inline double abs(double x) { return ::fabs(x); }

// min and max as for vectors: b where either is NaN.
NORMRNN_FN inline float min(float a, float b) { return a < b ? a : b; }
NORMRNN_FN inline double min(double a, double b) { return a < b ? a : b; }
NORMRNN_FN inline float max(float a, float b) { return a > b ? a : b; }
NORMRNN_FN inline double max(double a, double b) { return a > b ? a : b; }

// Of exp(-|x|), which cannot overflow: for very negative x the result keeps its relative accuracy.
template <class T>
NORMRNN_FN inline T sigmoid_of(T x) {
  const T e = exp(-abs(x));
  return (x < 0 ? e : T(1)) / (1 + e);
}
NORMRNN_FN inline float sigmoid(float x) { return sigmoid_of(x); }
NORMRNN_FN inline double sigmoid(double x) { return sigmoid_of(x); }

// 1 or -1, and 0 or NaN where x is.
template <class T>
NORMRNN_FN inline T sign_of(T x) {
  return x > 0 ? T(1) : x < 0 ? T(-1) : x;
}
NORMRNN_FN inline float sign(float x) { return sign_of(x); }
NORMRNN_FN inline double sign(double x) { return sign_of(x); }

NORMRNN_FN inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
NORMRNN_FN inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace normrnn::NORMRNN_TARGET
