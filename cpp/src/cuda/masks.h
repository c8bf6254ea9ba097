// Masks of dropout: the same random bits as on the CPU (cpu/mask-inl.h has the layout), one number
// at a time.
#pragma once

#include "cpu/kernels.h"
#include "cuda/packed.h"
#include "dropout.h"

namespace normrnn::device {

using cpu::Mask;
using cpu::Masks;
using cpu::MaskSource;

// Philox4x32-10.
NORMRNN_FN inline void philox(uint32_t (&c)[4], uint64_t seed) {
  uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(c[0]) * 0xD2511F53u, b = uint64_t(c[2]) * 0xCD9E8D57u;
    c[0] = uint32_t(b >> 32) ^ c[1] ^ key[0];
    c[1] = uint32_t(b);
    c[2] = uint32_t(a >> 32) ^ c[3] ^ key[1];
    c[3] = uint32_t(a);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
}

// Bits of 64 columns from 64 q on: two words.
NORMRNN_FN inline void fill_bits(const MaskSource& source, uint32_t sequence, uint32_t time,
                                 int64_t q, uint32_t* bits) {
  uint32_t word[2] = {0, 0};
  for (int l = 0; l < 8; ++l) {
    uint32_t c[4] = {uint32_t(8 * q + l), sequence, time, source.stream};
    philox(c, source.seed);
    for (int w = 0; w < 4; ++w) {
      const uint32_t low = (c[w] & 0xffffu) >= source.threshold;
      const uint32_t high = (c[w] >> 16) >= source.threshold;
      word[w / 2] |= (low | high << 1) << (4 * l + 2 * (w % 2));
    }
  }
  bits[0] = word[0];
  bits[1] = word[1];
}

// One row of a mask, or none: then everything passes as it is.
template <class T>
class MaskRow {
 public:
  NORMRNN_FN MaskRow(const Mask<T>& mask, int64_t packed_row, int64_t sequence)
      : bits_(mask.bits ? mask.bits + (mask.per_sequence ? sequence : packed_row) * mask.ld
                        : nullptr),
        scale_(T(mask.scale)) {}
  NORMRNN_FN bool exists() const { return bits_ != nullptr; }
  NORMRNN_FN bool kept(int64_t column) const { return (bits_[column / 32] >> (column % 32)) & 1u; }
  NORMRNN_FN T operator()(T v, int64_t column) const {
    if (!bits_) return v;
    return kept(column) ? v * scale_ : T(0);
  }

 private:
  const uint32_t* bits_;
  T scale_;
};

// What cells are given for their candidates.
struct NoDrop {
  static constexpr bool kMasked = false;
  template <class T>
  NORMRNN_FN T operator()(T candidate) const {
    return candidate;
  }
};

template <class T>
struct CandidateDrop {
  static constexpr bool kMasked = true;
  const MaskRow<T>& row;
  int64_t column;
  NORMRNN_FN T operator()(T candidate) const { return row(candidate, column); }
};

// Bits of a mask over `columns`, filled; where nothing is dropped, none.
template <class T>
struct FilledMask {
  Memory<uint32_t> bits;
  Mask<T> view;

  template <class Queue>
  bool reserve(Queue& queue, double probability, int64_t rows, int64_t columns, bool per_sequence) {
    const int steps = steps_of(probability);
    if (steps == 0) return false;
    view.ld = (columns + 63) / 64 * 2;
    bits = memory<uint32_t>(queue, "masks", rows, view.ld);
    view.bits = bits.get();
    view.per_sequence = per_sequence;
    view.scale = T(65536.0 / (65536 - steps));
    return true;
  }
};

template <class T, class Queue>
FilledMask<T> sequence_mask(Queue& queue, const Dropout& dropout, double probability,
                            uint32_t stream, const PackedMemory& packed, int64_t columns,
                            bool per_sequence) {
  FilledMask<T> mask;
  const int64_t batch = packed.view.batch, rows = packed.schedule.rows();
  if (!mask.reserve(queue, probability, per_sequence ? batch : rows, columns, per_sequence)) {
    return mask;
  }
  const MaskSource source{dropout.seed, stream, uint16_t(steps_of(probability))};
  const Packed view = packed.view;
  uint32_t* bits = mask.bits.get();
  const int64_t ld = mask.view.ld;
  if (per_sequence) {
    queue.each(
        "masks", batch, ld / 2, NORMRNN_LAMBDA(int64_t r, int64_t q) {
          fill_bits(source, uint32_t(view.order_of(r)), 0, q, bits + r * ld + 2 * q);
        });
  } else {
    queue.each(
        "masks", view.times * batch, ld / 2, NORMRNN_LAMBDA(int64_t row, int64_t q) {
          const Packed::Place at = view.place(row);
          if (!at.exists) return;
          fill_bits(source, uint32_t(view.order_of(at.r)), uint32_t(at.t), q,
                    bits + at.row * ld + 2 * q);
        });
  }
  return mask;
}

// A row of bits for each row of weight_hh.
template <class T, class Queue>
FilledMask<T> weight_mask(Queue& queue, const Dropout& dropout, int index, int64_t rows,
                          int64_t columns) {
  FilledMask<T> mask;
  if (!mask.reserve(queue, dropout.weight, rows, columns, false)) return mask;
  const MaskSource source{dropout.seed, stream_of(MaskOf::kWeight, index),
                          uint16_t(steps_of(dropout.weight))};
  uint32_t* bits = mask.bits.get();
  const int64_t ld = mask.view.ld;
  queue.each(
      "masks", rows, ld / 2, NORMRNN_LAMBDA(int64_t row, int64_t q) {
        fill_bits(source, uint32_t(row), 0, q, bits + row * ld + 2 * q);
      });
  return mask;
}

// A matrix as a mask with a row for each of its rows leaves it; from and to may be the same.
template <class T, class Queue>
void mask_matrix(Queue& queue, const Mask<T>& mask, int64_t rows, int64_t columns, const T* from,
                 T* to) {
  queue.each(
      "mask matrix", rows, columns, NORMRNN_LAMBDA(int64_t i, int64_t c) {
        to[i * columns + c] = MaskRow<T>(mask, i, i)(from[i * columns + c], c);
      });
}

// The masks of one direction of one layer, as layer_masks of dropout.h makes them.
template <class T>
struct LayerMasks {
  std::vector<FilledMask<T>> filled;
  Masks<T> view;
  FilledMask<T> weight_hh;
};

template <class T, class Queue>
LayerMasks<T> layer_masks(Queue& queue, const Dropout& dropout, const PackedMemory& packed,
                          int64_t hidden, int index, bool last_layer, int states,
                          int64_t weight_rows) {
  LayerMasks<T> own;
  Masks<T>& view = own.view;
  if (!dropout.training) {
    for (int s = 0; s < states && s < 2; ++s) {
      view.blend[s] = T(steps_of(dropout.zoneout[s]) / 65536.0);
      view.any |= view.blend[s] != 0;
    }
    return own;
  }
  const auto fill = [&](Mask<T>& to, double probability, MaskOf what, bool per_sequence,
                        int state = 0) {
    FilledMask<T> mask = sequence_mask<T>(
        queue, dropout, probability, stream_of(what, index, state), packed, hidden, per_sequence);
    to = mask.view;
    if (!to.bits) return;
    own.filled.push_back(std::move(mask));
    view.any = true;
  };
  const bool once = dropout.per_sequence;
  if (last_layer) {
    fill(view.output, dropout.output, MaskOf::kOutput, once);
  } else {
    fill(view.output, dropout.between, MaskOf::kBetween, once);
  }
  fill(view.state, dropout.state, MaskOf::kState, true);
  fill(view.candidate, dropout.candidate, MaskOf::kCandidate, once);
  for (int s = 0; s < states && s < 2; ++s) {
    fill(view.zoneout[s], dropout.zoneout[s], MaskOf::kZoneout, false, s);
  }
  own.weight_hh = weight_mask<T>(queue, dropout, index, weight_rows, hidden);
  return own;
}

}  // namespace normrnn::device
