// One tensor of an update: shared by the public API and the kernels, so plain data only.
#pragma once

#include <cstdint>

namespace normrnn {

// What becomes of a tensor's penalty: nothing, a gradient in the loss, or an exact proximal step.
enum class Apply : int { kNone, kGradient, kProx };

constexpr int kMaxSlots = 4;
constexpr int kMaxScalars = 8;

template <class T>
struct UpdateTensor {
  T* w;                // [size]
  const T* g;          // [size]
  T* slot[kMaxSlots];  // [size] each: the rule's state
  const T* center;     // [size] or null: the penalty's centre
  int64_t size;
  int penalty;  // index in penalty_names()
  Apply apply;
  T penalty_scalar[kMaxScalars];
};

}  // namespace normrnn
