// The whole of one target: a target_*.cpp defines the macros and includes this.
//   NORMRNN_TARGET        its namespace, which is also its public name
//   NORMRNN_VECTOR_BYTES  16, 32 or 64
//   NORMRNN_ACCUMULATORS  vector registers a tile may hold
// No std:: templates in here: compiled for this target, they would be merged with those of others.
#include "cells/cells.def"
#include "cpu/backward-inl.h"
#include "cpu/forward-inl.h"
#include "cpu/indrnn-inl.h"
#include "cpu/layernorm-backward-inl.h"
#include "cpu/layernorm-inl.h"
#include "cpu/loss-inl.h"
#include "cpu/outer-inl.h"
#include "cpu/peak-inl.h"
#include "cpu/state-inl.h"
#include "cpu/update-groups-inl.h"
#include "cpu/update-inl.h"

#define NORMRNN_STRING_OF(x) #x
#define NORMRNN_STRING(x) NORMRNN_STRING_OF(x)

namespace normrnn::NORMRNN_TARGET {

template <class Cell, class T, class E>
constexpr cpu::LayerKernels<T, E> layer_kernels() {
  static_assert(Cell::kGates <= kMaxGates && Cell::kStates <= kMaxStates);
  static_assert(sets_at_once(Layout<Cell>::kAll, Layout<Cell>::kUnits) <= NORMRNN_ACCUMULATORS);
  if constexpr (sizeof(T) == 8 && cpu::kNumbersIn<E> > 1) {
    return {};
  } else {
    cpu::LayerKernels<T, E> kernels{};
    kernels.pack_input = pack_gates<Products<Cell>, T, E, false>;
    kernels.pack_recurrent = pack_gates<Products<Cell>, T, E, true>;
    if constexpr (kHasLayerNorm<Cell>) {
      kernels.forward = layernorm_forward<Cell, T, E>;
      kernels.backward = layernorm_backward<Cell, T, E>;
      kernels.norm_gradients = norm_gradients<Cell, T, E>;
    } else if constexpr (kIsDiagonal<Cell>) {
      kernels.forward = diagonal_forward<Cell, T, E>;
      kernels.backward = diagonal_backward<Cell, T, E>;
    } else {
      kernels.forward = layer_forward<Cell, T, E>;
      kernels.backward = layer_backward<Cell, T, E>;
    }
    return kernels;
  }
}

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
    table.same = {matmul<T, T>, pack<T, T>};
    if constexpr (sizeof(T) == 4) {
      table.bf16 = {matmul<T, Bf16Pair>, pack<T, Bf16Pair>};
      table.to_pairs = to_pairs;
    }
    table.outer = outer<T>;
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
