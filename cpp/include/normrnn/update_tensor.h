// One tensor of an update: shared by the public API and the kernels, so plain data only.
#pragma once

#include <cstdint>

namespace normrnn {

// What becomes of a tensor's penalty: nothing, a gradient in the loss, or an exact proximal step.
enum class Apply : int { kNone, kGradient, kProx };

// Which weights of a matrix [rows, columns] have a norm together.
enum class GroupAxis : int { kRows, kColumns, kWhole };

constexpr int kMaxSlots = 4;
constexpr int kMaxScalars = 8;

template <class T>
struct UpdateTensor {
  T* w;                // [size]
  const T* g;          // [size]
  T* slot[kMaxSlots];  // [size] each: the rule's state
  int64_t size;
  int64_t rows, columns;  // size = rows * columns; read for groups and for clip_ratio only

  // A penalty on each weight.
  int penalty;  // index in penalty_names()
  Apply apply;
  T penalty_scalar[kMaxScalars];
  const T* center;  // [size] or null: the penalty's centre
  const T* factor;  // [size] or null: what the scalars are multiplied by

  // A penalty on the norms of groups: group i of the tensor is entry first_group + i of
  // UpdateCall::group_strength. Tensors may share groups along columns.
  int group;  // index in group_names()
  Apply group_apply;
  GroupAxis axis;
  int64_t first_group;

  // The gradient of any other penalty, which the caller has at hand.
  const T* pull;  // [size] or null
};

}  // namespace normrnn
