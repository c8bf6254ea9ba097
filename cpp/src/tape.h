// What a forward pass leaves behind: everything the backward pass reads, owned or checked.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "dropout.h"
#include "schedule.h"
#include "workspace.h"

namespace normrnn {

// One direction of one layer.
template <class T>
struct LayerTape {
  Buffer<T> state[kMaxStates];  // initial block, then packed rows (or two blocks in turn)
  Buffer<T> gates;              // [N, kTape, state_ld]
  Buffer<cpu::Bf16Pair> h;      // states[0] as operands in bfloat16, during the forward pass
  // With dropout, where it needs them: the masks, what they left of states[0] as an operand (rows
  // as in state) and as the next layer's input (packed rows), and of weight_hh.
  LayerMasks<T> masks;
  Buffer<T> masked_h, output, weight_hh;
  Buffer<cpu::Bf16Pair> output_pairs;  // during the forward pass
  // Cells with layer norm: what is normalised [N, width], and its moments [N, 2]; see cpu::Norm
  Buffer<T> raw[cpu::kNormKinds], moments[cpu::kNormKinds];
};

template <class T>
class Tape {
 public:
  const cpu::CellKernels<T>* cell;
  Shape shape;
  bool batch_first;
  Schedule schedule;
  int64_t state_ld;
  std::vector<Weights<T>> weights;
  bool frozen;           // the weights cannot have changed
  uint64_t fingerprint;  // else: of the weights as they were
  Buffer<T> x_copy;
  OwnedMask<T> x_mask;
  cpu::Rows<const T> x;           // packed rows of the input, without slots
  bool bf16;                      // products take operands in bfloat16
  Buffer<cpu::Bf16Pair> x_pairs;  // during the forward pass
  int64_t x_pairs_ld, h_pairs_ld;
  std::vector<LayerTape<T>> layers;

  int64_t state_rows() const { return shape.batch + schedule.rows(); }
  int64_t input_of(int layer) const {
    return layer == 0 ? shape.input : shape.hidden * shape.directions;
  }
  LayerTape<T>& at(int layer, int d) { return layers[layer * shape.directions + d]; }
  const LayerTape<T>& at(int layer, int d) const { return layers[layer * shape.directions + d]; }

  // The input of a layer as segments of packed rows: x, or the outputs of the layer below.
  template <class E>
  int inputs(int layer, cpu::Segment<E>* segment) const {
    constexpr bool kPairs = cpu::kNumbersIn<E> > 1;
    if (layer == 0) {
      const int64_t k = cpu::operands_of<E>(shape.input);
      if constexpr (kPairs) segment[0] = {x_pairs.get(), x_pairs_ld, k, nullptr};
      if constexpr (!kPairs) segment[0] = {x.data, x.ld, k, nullptr};
      return 1;
    }
    const int64_t k = cpu::operands_of<E>(shape.hidden);
    for (int d = 0; d < shape.directions; ++d) {
      const LayerTape<T>& below = at(layer - 1, d);
      if constexpr (kPairs) {
        const E* own = below.h.get() + shape.batch * h_pairs_ld;
        const E* dropped = below.output_pairs.get();
        segment[d] = {dropped ? dropped : own, h_pairs_ld, k, nullptr};
      } else {
        const T* own = below.state[0].get() + shape.batch * state_ld;
        const T* dropped = below.output.get();
        segment[d] = {dropped ? dropped : own, state_ld, k, nullptr};
      }
    }
    return shape.directions;
  }
};

// Check sum of all weights; equal bits give equal sums.
template <class T>
uint64_t weights_fingerprint(const std::vector<Weights<T>>& weights, const Shape& shape,
                             const cpu::CellKernels<T>& cell, int threads);

}  // namespace normrnn
