// The activations of one target on arrays, for test_activations.cpp: a table of pointers as in
// cpu/kernels.h, because only the inside of activations.cpp is compiled for that target.
#pragma once

#include <cstdint>

namespace normrnn::test {

template <class T>
using Activation = void (*)(const T* x, int64_t count, T* y);  // [count] -> [count]

template <class T>
struct ActivationsOf {
  Activation<T> exp, sigmoid, tanh;
};

struct Activations {
  const char* target;
  ActivationsOf<float> f32;
  ActivationsOf<double> f64;
};

}  // namespace normrnn::test
