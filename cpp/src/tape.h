// What a forward pass leaves behind: everything the backward pass reads, owned or checked.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "schedule.h"
#include "workspace.h"

namespace normrnn {

// One direction of one layer.
template <class T>
struct LayerTape {
  Buffer<T> state[kMaxStates];  // initial block, then packed rows (or two blocks in turn)
  Buffer<T> gates;              // [N, kTape, state_ld]
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
  cpu::Rows<const T> x;  // packed rows of the input, without slots
  std::vector<LayerTape<T>> layers;

  int64_t state_rows() const { return shape.batch + schedule.rows(); }
  int64_t input_of(int layer) const {
    return layer == 0 ? shape.input : shape.hidden * shape.directions;
  }
  LayerTape<T>& at(int layer, int d) { return layers[layer * shape.directions + d]; }
  const LayerTape<T>& at(int layer, int d) const { return layers[layer * shape.directions + d]; }

  // The input of a layer as segments of packed rows: x, or the outputs of the layer below.
  int inputs(int layer, cpu::Segment<T>* segment) const {
    if (layer == 0) {
      segment[0] = {x.data, x.ld, shape.input, nullptr};
      return 1;
    }
    for (int d = 0; d < shape.directions; ++d) {
      const T* h = at(layer - 1, d).state[0].get() + shape.batch * state_ld;
      segment[d] = {h, state_ld, shape.hidden, nullptr};
    }
    return shape.directions;
  }
};

// Check sum of all weights; equal bits give equal sums.
template <class T>
uint64_t weights_fingerprint(const std::vector<Weights<T>>& weights, const Shape& shape, int gates,
                             int threads);

}  // namespace normrnn
