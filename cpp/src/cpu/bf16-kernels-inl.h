// A target that differs from another in its products of bfloat16 alone: a target_*.cpp defines the
// macros of kernels-inl.h, as for the other target, and includes this.
//   NORMRNN_AMX  products are those of the matrix unit
#include "cpu/layer-kernels-inl.h"
#include "cpu/outer-inl.h"
#if defined(NORMRNN_AMX)
#include "cpu/amx-outer-inl.h"
#endif

namespace normrnn::NORMRNN_TARGET {

#define NORMRNN_CELL(name, type) layer_kernels<type, float, cpu::Bf16Pair>(),
constexpr cpu::LayerKernels<float, cpu::Bf16Pair> kCells[] = {
#include "cells/cells.def"
};

extern const cpu::Bf16Kernels kBf16;
const cpu::Bf16Kernels kBf16 = {NORMRNN_STRING(NORMRNN_TARGET),
                                kCells,
                                {matmul<float, Bf16Pair>, pack<float, Bf16Pair>,
                                 outer<float, Bf16Pair>, kOuterBytes<float, Bf16Pair>}};

}  // namespace normrnn::NORMRNN_TARGET
