// What a forward pass on a device leaves behind; everything in it is memory of the device.
#pragma once

#include "cuda/masks.h"
#include "normrnn/cuda.h"

namespace normrnn::device {

constexpr int kStates = 2;  // most that a cell has
enum NormKind : int { kInputNorm, kRecurrentNorm, kStateNorm, kNormKinds };

// Layer norm of the rows of one matrix: gain * (a - mean) / sqrt(variance + 1e-5) + bias. What is
// normalised is kept as it was, with two numbers a row.
template <class T>
struct Norm {
  int64_t width;  // 0: no such norm
  const T* gain;  // [width]
  const T* bias;  // [width] or null
  T* raw;         // [rows, width]
  T* moments;     // [rows, 2] mean and 1 / sqrt(variance + 1e-5)

  NORMRNN_FN T unit(int64_t row, int64_t i) const {
    return (raw[row * width + i] - moments[2 * row]) * moments[2 * row + 1];
  }
};

// One direction of one layer.
template <class T>
struct LayerTape {
  StateRows rows[kStates];
  Memory<T> state[kStates];  // [.., H]: see StateRows
  Memory<T> gates;           // [N, tape_ld]: kTape blocks of H numbers each
  int64_t tape_ld = 0;
  LayerMasks<T> masks;
  // What masks left of states[0] as an operand (rows as in state) and as the next layer's input
  // [N, H], and of weight_hh.
  Memory<T> masked_h, output, weight_hh;
  Memory<T> raw[kNormKinds], moments[kNormKinds];  // cells with layer norm
  // During the forward pass, operands of 16 bits: states[0] and output.
  Memory<uint16_t> h, output_operands;
};

template <class T>
struct Tape {
  int cell;  // in cells.def
  Shape shape;
  bool batch_first;
  cuda::Precision precision;
  PackedMemory packed;
  std::vector<Weights<T>> weights;
  Memory<T> x;                  // [N, I] packed rows, as input dropout leaves them
  Memory<uint16_t> x_operands;  // during the forward pass
  const T* x_rows;              // x, or the caller's
  FilledMask<T> x_mask;
  std::vector<LayerTape<T>> layers;

  int64_t input_of(int layer) const {
    return layer == 0 ? shape.input : shape.hidden * shape.directions;
  }
  LayerTape<T>& at(int layer, int d) { return layers[size_t(layer * shape.directions + d)]; }
  const LayerTape<T>& at(int layer, int d) const {
    return layers[size_t(layer * shape.directions + d)];
  }

  // The input of a layer as one or two arrays of packed rows side by side, [N, width] each.
  struct Segment {
    const T* rows;
    const uint16_t* operands;  // the same of 16 bits, or null
    int64_t width;
  };
  int inputs(int layer, Segment* to) const {
    if (layer == 0) {
      to[0] = {x_rows, x_operands.get(), shape.input};
      return 1;
    }
    for (int d = 0; d < shape.directions; ++d) {
      const LayerTape<T>& below = at(layer - 1, d);
      const int64_t first = below.rows[0].first * shape.hidden;
      const T* own = below.state[0].get() + first;
      const uint16_t* operands = below.h.get() ? below.h.get() + first : nullptr;
      if (below.output.get()) own = below.output.get();
      if (below.output_operands.get()) operands = below.output_operands.get();
      to[d] = {own, operands, shape.hidden};
    }
    return shape.directions;
  }
};

template <class T>
int64_t bytes_of(const Tape<T>& tape) {
  int64_t bytes = tape.packed.arrays.bytes() + tape.packed.slot.bytes() + tape.x.bytes() +
                  tape.x_mask.bits.bytes();
  for (const LayerTape<T>& layer : tape.layers) {
    bytes += layer.gates.bytes() + layer.masked_h.bytes() + layer.output.bytes() +
             layer.weight_hh.bytes() + layer.masks.weight_hh.bits.bytes();
    for (const auto& mask : layer.masks.filled) bytes += mask.bits.bytes();
    for (const Memory<T>& state : layer.state) bytes += state.bytes();
    for (const Memory<T>& raw : layer.raw) bytes += raw.bytes();
    for (const Memory<T>& moments : layer.moments) bytes += moments.bytes();
  }
  return bytes;
}

}  // namespace normrnn::device
