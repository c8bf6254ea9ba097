#include "tape.h"

#include <algorithm>

#include "cpu/dispatch.h"

namespace normrnn {
template <class T>
int64_t bytes_of(const Tape<T>& tape) {
  int64_t bytes = tape.x_copy.bytes() + tape.x_mask.bits.bytes();
  for (const LayerTape<T>& layer : tape.layers) {
    bytes += layer.gates.bytes() + layer.masked_h.bytes() + layer.output.bytes() +
             layer.weight_hh.bytes() + layer.masks.weight_hh.bits.bytes();
    for (const Buffer<uint32_t>& bits : layer.masks.bits) bytes += bits.bytes();
    for (const Buffer<T>& state : layer.state) bytes += state.bytes();
    for (const Buffer<T>& raw : layer.raw) bytes += raw.bytes();
    for (const Buffer<T>& moments : layer.moments) bytes += moments.bytes();
  }
  return bytes;
}

template int64_t bytes_of(const Tape<float>&);
template int64_t bytes_of(const Tape<double>&);

template <class T>
uint64_t weights_fingerprint(const std::vector<Weights<T>>& weights, const Shape& shape,
                             const cpu::CellKernels<T>& cell, int threads) {
  struct Piece {
    const T* data;
    int64_t count;
  };
  constexpr int64_t kPiece = 1 << 15;
  std::vector<Piece> pieces;
  pieces.reserve(8 * weights.size());
  int64_t total = 0;
  const auto add = [&](const T* data, int64_t count) {
    if (!data) return;
    for (int64_t i = 0; i < count; i += kPiece) {
      pieces.push_back({data + i, std::min(kPiece, count - i)});
    }
    total += count;
  };
  const int64_t rows = cell.gates * shape.hidden;
  for (size_t i = 0; i < weights.size(); ++i) {
    const bool first = i < size_t(shape.directions);
    add(weights[i].ih, rows * (first ? shape.input : shape.hidden * shape.directions));
    add(weights[i].hh, cell.diagonal ? shape.hidden : rows * shape.hidden);
    add(weights[i].b_ih, rows);
    add(weights[i].b_hh, rows);
    add(weights[i].gain_ih, rows);
    add(weights[i].gain_hh, rows);
    add(weights[i].gain_c, shape.hidden);
    add(weights[i].b_c, shape.hidden);
  }
  const cpu::Kernels<T>& kernel = kernels<T>();
  std::vector<uint64_t> sums(pieces.size());
  parallel_for(threads, int64_t(pieces.size()), total,
               [&](int64_t i) { sums[i] = kernel.fingerprint(pieces[i].data, pieces[i].count); });
  uint64_t all = 0;
  for (const uint64_t sum : sums) all = (all ^ sum) * 0x9e3779b97f4a7c15u + (all >> 29);
  return all;
}

template uint64_t weights_fingerprint(const std::vector<Weights<float>>&, const Shape&,
                                      const cpu::CellKernels<float>&, int);
template uint64_t weights_fingerprint(const std::vector<Weights<double>>&, const Shape&,
                                      const cpu::CellKernels<double>&, int);

}  // namespace normrnn
