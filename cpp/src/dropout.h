// Masks of a whole pass: which there are, where their bits come from, and their use on arrays.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/dispatch.h"
#include "schedule.h"
#include "workspace.h"

namespace normrnn {

// One mask with its bits: 1/32 of what a float each would take.
template <class T>
struct OwnedMask {
  Buffer<uint32_t> bits;
  cpu::Mask<T> view;
};

// Those of one direction of one layer.
template <class T>
struct LayerMasks {
  std::vector<Buffer<uint32_t>> bits;
  cpu::Masks<T> view;      // of these bits
  OwnedMask<T> weight_hh;  // a row per row of the matrix, [G*H, H]
};

// What a mask is of. The numbers enter the random streams, so they stay.
enum class MaskOf : int { kInput, kOutput, kBetween, kState, kCandidate, kWeight, kZoneout };
inline uint32_t stream_of(MaskOf what, int index, int state = 0) {
  return uint32_t(index) * 16 + uint32_t(what) + uint32_t(state);
}

// Probabilities are taken in steps of 2^-16; this many.
inline int steps_of(double probability) {
  constexpr int kSteps = 1 << 16;
  return std::min(int(std::nearbyint(probability * kSteps)), kSteps - 1);
}

template <class T>
OwnedMask<T> input_mask(const Dropout& dropout, const Schedule& schedule, int64_t columns,
                        int threads);
// index: layer * 2 + direction; weight_hh has `weight_rows` rows of H.
template <class T>
LayerMasks<T> layer_masks(const Dropout& dropout, const Schedule& schedule, int64_t hidden,
                          int index, bool last_layer, int states, int64_t weight_rows, int threads);

// Packed rows of `columns` numbers as a mask leaves them; from and to may be the same.
template <class T>
void mask_rows(const cpu::Mask<T>& mask, const Schedule& schedule, int64_t columns,
               cpu::Rows<const T> from, cpu::Rows<T> to, int threads);

// A matrix [rows, columns] as a mask with a row for each of its rows leaves it.
template <class T>
void mask_matrix(const cpu::Mask<T>& mask, int64_t rows, int64_t columns, const T* from, T* to,
                 int threads);

}  // namespace normrnn
