#include "dropout.h"

#include <algorithm>
#include <cmath>

namespace normrnn {
namespace {

constexpr int64_t kMaskBits = 64;  // that a row is padded to
constexpr int64_t kBitCost = 2;    // of a random bit, in additions
constexpr int64_t kRowsAtOnce = 16;

// f(i, t, r) for each packed row i, that of sorted sequence r at time t.
template <class F>
void for_packed_rows(const Schedule& schedule, int threads, int64_t work_of_row, F&& f) {
  const int64_t rows = schedule.rows(), chunks = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  parallel_for(threads, chunks, rows * work_of_row, [&](int64_t chunk) {
    const int64_t end = std::min(rows, (chunk + 1) * kRowsAtOnce);
    int64_t i = chunk * kRowsAtOnce;
    const auto above = std::upper_bound(schedule.offset.begin(), schedule.offset.end(), i);
    for (int64_t t = above - schedule.offset.begin() - 1; i < end; ++i) {
      while (schedule.offset[t + 1] <= i) ++t;
      f(i, t, i - schedule.offset[t]);
    }
  });
}

// Rows of bits, not filled; null where nothing is dropped.
template <class T>
cpu::Mask<T> make_mask(double probability, int64_t rows, int64_t columns, bool per_sequence,
                       Buffer<uint32_t>& bits) {
  const int steps = steps_of(probability);
  if (steps == 0) return {};
  cpu::Mask<T> mask;
  mask.ld = (columns + kMaskBits - 1) / kMaskBits * (kMaskBits / 32);
  bits = Buffer<uint32_t>(product(rows, mask.ld));
  mask.bits = bits.get();
  mask.per_sequence = per_sequence;
  mask.scale = T(65536.0 / (65536 - steps));  // of the rounded probability: the mean stays
  return mask;
}

// The mask of a sequence depends on its place in the batch and on the time, never on the others.
template <class T>
cpu::Mask<T> sequence_mask(const Dropout& dropout, double probability, uint32_t stream,
                           const Schedule& schedule, int64_t columns, bool per_sequence,
                           int threads, Buffer<uint32_t>& bits) {
  const cpu::Mask<T> mask = make_mask<T>(
      probability, per_sequence ? schedule.batch : schedule.rows(), columns, per_sequence, bits);
  if (!mask.bits) return mask;
  const cpu::MaskSource source{dropout.seed, stream, uint16_t(steps_of(probability))};
  const auto fill = kernels<T>().fill_mask;
  uint32_t* to = bits.get();
  const auto row = [&](int64_t i, int64_t t, int64_t r) {
    fill(source, uint32_t(schedule.order[r]), uint32_t(t), columns, to + i * mask.ld);
  };
  const int64_t work = mask.ld * 32 * kBitCost;
  if (per_sequence) {
    parallel_rows(threads, schedule.batch, work, [&](int64_t r) { row(r, 0, r); });
  } else {
    for_packed_rows(schedule, threads, work, row);
  }
  return mask;
}

}  // namespace

template <class T>
OwnedMask<T> input_mask(const Dropout& dropout, const Schedule& schedule, int64_t columns,
                        int threads) {
  OwnedMask<T> mask;
  if (!dropout.training) return mask;
  mask.view = sequence_mask<T>(dropout, dropout.input, stream_of(MaskOf::kInput, 0), schedule,
                               columns, dropout.per_sequence, threads, mask.bits);
  return mask;
}

template <class T>
LayerMasks<T> layer_masks(const Dropout& dropout, const Schedule& schedule, int64_t hidden,
                          int index, bool last_layer, int states, int64_t weight_rows,
                          int threads) {
  LayerMasks<T> own;
  cpu::Masks<T>& view = own.view;
  if (!dropout.training) {
    for (int s = 0; s < states && s < 2; ++s) {
      view.blend[s] = T(steps_of(dropout.zoneout[s]) / 65536.0);
      view.any |= view.blend[s] != 0;
    }
    return own;
  }
  const auto fill = [&](cpu::Mask<T>& to, double probability, MaskOf what, bool per_sequence,
                        int state = 0) {
    Buffer<uint32_t> bits;
    to = sequence_mask<T>(dropout, probability, stream_of(what, index, state), schedule, hidden,
                          per_sequence, threads, bits);
    if (!to.bits) return;
    own.bits.push_back(std::move(bits));
    view.any = true;
  };
  if (last_layer) {
    fill(view.output, dropout.output, MaskOf::kOutput, dropout.per_sequence);
  } else {
    fill(view.output, dropout.between, MaskOf::kBetween, dropout.per_sequence);
  }
  fill(view.state, dropout.state, MaskOf::kState, true);
  fill(view.candidate, dropout.candidate, MaskOf::kCandidate, dropout.per_sequence);
  for (int s = 0; s < states && s < 2; ++s) {
    fill(view.zoneout[s], dropout.zoneout[s], MaskOf::kZoneout, false, s);
  }
  const cpu::Mask<T> weight =
      make_mask<T>(dropout.weight, weight_rows, hidden, false, own.weight_hh.bits);
  own.weight_hh.view = weight;
  if (weight.bits) {
    const cpu::MaskSource source{dropout.seed, stream_of(MaskOf::kWeight, index),
                                 uint16_t(steps_of(dropout.weight))};
    parallel_rows(threads, weight_rows, weight.ld * 32 * kBitCost, [&](int64_t i) {
      kernels<T>().fill_mask(source, uint32_t(i), 0, hidden,
                             own.weight_hh.bits.get() + i * weight.ld);
    });
  }
  return own;
}

template <class T>
void mask_rows(const cpu::Mask<T>& mask, const Schedule& schedule, int64_t columns,
               cpu::Rows<const T> from, cpu::Rows<T> to, int threads) {
  for_packed_rows(schedule, threads, columns, [&](int64_t i, int64_t, int64_t r) {
    kernels<T>().mask_row(mask, i, r, columns, from.data + (from.slot ? from.slot[i] : i) * from.ld,
                          to.data + (to.slot ? to.slot[i] : i) * to.ld);
  });
}

template <class T>
void mask_matrix(const cpu::Mask<T>& mask, int64_t rows, int64_t columns, const T* from, T* to,
                 int threads) {
  parallel_rows(threads, rows, columns, [&](int64_t i) {
    kernels<T>().mask_row(mask, i, i, columns, from + i * columns, to + i * columns);
  });
}

#define NORMRNN_INSTANTIATE(T)                                                                 \
  template OwnedMask<T> input_mask(const Dropout&, const Schedule&, int64_t, int);             \
  template LayerMasks<T> layer_masks(const Dropout&, const Schedule&, int64_t, int, bool, int, \
                                     int64_t, int);                                            \
  template void mask_rows(const cpu::Mask<T>&, const Schedule&, int64_t, cpu::Rows<const T>,   \
                          cpu::Rows<T>, int);                                                  \
  template void mask_matrix(const cpu::Mask<T>&, int64_t, int64_t, const T*, T*, int);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
#undef NORMRNN_INSTANTIATE

}  // namespace normrnn
