// elementary.h as the kernels of NORMRNN_TARGET have it; CMakeLists.txt compiles this file once for
// each target, with the flags of that target's kernels. No std:: templates, as in
// cpu/kernels-inl.h.
#include "activations.h"

#include "elementary.h"

#define NORMRNN_STRING_OF(x) #x
#define NORMRNN_STRING(x) NORMRNN_STRING_OF(x)

namespace normrnn::NORMRNN_TARGET {

#define NORMRNN_ON_ARRAY(name)                                 \
  template <class T>                                           \
  void name##_on_array(const T* x, int64_t count, T* y) {      \
    for (int64_t i = 0; i < count; i += kLanes<T>) {           \
      const int n = int(min_of(kLanes<T>, count - i));         \
      store_n<T>(y + i, name(Vec<T>(load_n<T>(x + i, n))), n); \
    }                                                          \
  }
NORMRNN_ON_ARRAY(exp)
NORMRNN_ON_ARRAY(sigmoid)
NORMRNN_ON_ARRAY(tanh)
#undef NORMRNN_ON_ARRAY

template <class T>
constexpr test::ActivationsOf<T> kActivationsOf = {exp_on_array<T>, sigmoid_on_array<T>,
                                                   tanh_on_array<T>};

extern const test::Activations kActivations;
const test::Activations kActivations = {NORMRNN_STRING(NORMRNN_TARGET), kActivationsOf<float>,
                                        kActivationsOf<double>};

}  // namespace normrnn::NORMRNN_TARGET
