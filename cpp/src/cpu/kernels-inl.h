// The whole of one target: a target_*.cpp defines the macros and includes this.
//   NORMRNN_TARGET        its namespace, which is also its public name
//   NORMRNN_VECTOR_BYTES  16, 32 or 64
//   NORMRNN_ACCUMULATORS  vector registers a tile may hold
// No std:: templates in here: compiled for this target, they would be merged with those of others.
#include "cpu/layer-kernels-inl.h"
#include "cpu/loss-inl.h"
#include "cpu/outer-inl.h"
#include "cpu/peak-inl.h"
#include "cpu/state-inl.h"
#include "cpu/update-groups-inl.h"
#include "cpu/update-inl.h"

namespace normrnn::NORMRNN_TARGET {

template <class T>
struct Table {
#define NORMRNN_CELL(name, type)            \
  {name,                                    \
   Products<type>::kGates,                  \
   type::kSplit,                            \
   type::kStates,                           \
   type::kTape,                             \
   kNormsState<type>,                       \
   kHasLayerNorm<type>,                     \
   kIsDiagonal<type>,                       \
   Layout<type>::kPanel<T>,                 \
   layer_kernels<type, T, T>(),             \
   layer_kernels<type, T, cpu::Bf16Pair>(), \
   pack_bias<Products<type>, T>},
  static constexpr cpu::CellKernels<T> kCells[] = {
#include "cells/cells.def"
  };
  static constexpr cpu::Kernels<T> make() {
    cpu::Kernels<T> table{};
    table.cells = kCells;
    table.panel_width = kDenseWidth<T>;
    table.lanes = kLanes<T>;
    table.same = {matmul<T, T>, pack<T, T>, outer<T, T>, kOuterBytes<T, T>};
    if constexpr (sizeof(T) == 4) {
      table.bf16 = {matmul<T, Bf16Pair>, pack<T, Bf16Pair>, outer<T, T>, kOuterBytes<T, T>};
      table.to_pairs = to_pairs;
    }
    table.fill_mask = fill_mask;
    table.mask_row = mask_row<T>;
    table.pack_transposed = pack_transposed<T>;
    table.state_sums = state_sums<T>;
    table.add_product = add_product<T>;
    table.squares = squares<T>;
    table.update = update<T>;
    table.step_rows = step_rows<T>;
    table.scale_rows = scale_rows<T>;
    table.root_sums = root_sums<T>;
    table.scale_by_roots = scale_by_roots<T>;
    table.group_squares = group_squares<T>;
    table.multiply_adds = multiply_adds<T>;
    table.stream = stream<T>;
    table.fingerprint = fingerprint<T>;
    table.loss = loss<T>;
    table.softmax = softmax<T>;
    return table;
  }
  static constexpr cpu::Kernels<T> kKernels = make();
};

extern const cpu::Target kTarget;
const cpu::Target kTarget = {NORMRNN_STRING(NORMRNN_TARGET), &Table<float>::kKernels,
                             &Table<double>::kKernels};

}  // namespace normrnn::NORMRNN_TARGET
