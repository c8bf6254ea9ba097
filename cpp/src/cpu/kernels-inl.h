// The whole of one target: a target_*.cpp defines the macros and includes this.
//   NORMRNN_TARGET        its namespace, which is also its public name
//   NORMRNN_VECTOR_BYTES  16, 32 or 64
//   NORMRNN_ACCUMULATORS  vector registers a tile may hold
// No std:: templates in here: compiled for this target, they would be merged with those of others.
#include "cells/cells.def"
#include "cpu/backward-inl.h"
#include "cpu/forward-inl.h"
#include "cpu/loss-inl.h"
#include "cpu/outer-inl.h"
#include "cpu/peak-inl.h"
#include "cpu/update-inl.h"

#define NORMRNN_STRING_OF(x) #x
#define NORMRNN_STRING(x) NORMRNN_STRING_OF(x)

namespace normrnn::NORMRNN_TARGET {

template <class T>
struct Table {
#define NORMRNN_CELL(name, type) \
  {name,                         \
   type::kGates,                 \
   type::kSplit,                 \
   type::kStates,                \
   type::kTape,                  \
   Layout<type>::kPanel<T>,      \
   layer_forward<type, T>,       \
   layer_backward<type, T>,      \
   pack_gates<type, T, false>,   \
   pack_gates<type, T, true>,    \
   pack_bias<type, T>},
  static constexpr cpu::CellKernels<T> kCells[] = {
#include "cells/cells.def"
  };
  static constexpr cpu::Kernels<T> kKernels = {
      kCells,    kDenseWidth<T>,     kLanes<T>,  matmul<T>, outer<T>,
      pack<T>,   pack_transposed<T>, squares<T>, update<T>, multiply_adds<T>,
      stream<T>, fingerprint<T>,     loss<T>,    softmax<T>};
};

extern const cpu::Target kTarget;
const cpu::Target kTarget = {NORMRNN_STRING(NORMRNN_TARGET), &Table<float>::kKernels,
                             &Table<double>::kKernels};

}  // namespace normrnn::NORMRNN_TARGET
