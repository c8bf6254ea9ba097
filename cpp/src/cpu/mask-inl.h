// Masks of dropout: random bits by Philox4x32-10, and their expansion to lanes.
//
// Philox (Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011) maps a
// key and a counter to 128 random bits, so any element can be made at any time, by any thread. 16
// bits decide about an element. The key is the call's seed, the counter
//
//   word 0: 8 q + l, which block of 8 columns    word 2: the time, 0 in a mask without
//   word 1: the sequence's place in the batch    word 3: the stream
//
// and half s of output word w decides about column 64 q + 32 (w / 2) + 4 l + 2 (w % 2) + s: vectors
// of 2, 4 and 8 counters side by side all yield neighbouring bits.
#pragma once

#include "cpu/kernels.h"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::Mask;

// A counter in each 64-bit lane, in its lower half; the upper half is never looked at.
typedef uint64_t Counters __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
constexpr int kCounters = NORMRNN_VECTOR_BYTES / 8;

// Products of the lower halves. GCC does not see that half of a 64-bit product is enough.
NORMRNN_INLINE Counters multiply_low(Counters a, uint32_t b) {
  const Counters factor = uint64_t(b) - Counters{};
#if defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 64
  return (Counters)_mm512_maskz_mul_epu32(-1, (__m512i)a, (__m512i)factor);
#elif defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 32
  return (Counters)_mm256_mul_epu32((__m256i)a, (__m256i)factor);
#elif defined(__x86_64__)
  return (Counters)_mm_mul_epu32((__m128i)a, (__m128i)factor);
#else
  return (a & 0xffffffffu) * factor;
#endif
}

NORMRNN_INLINE void philox(Counters (&c)[4], uint64_t seed) {
  uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Counters a = multiply_low(c[0], 0xD2511F53u), b = multiply_low(c[2], 0xCD9E8D57u);
    c[0] = (b >> 32) ^ c[1] ^ key[0];
    c[1] = b;
    c[2] = (a >> 32) ^ c[3] ^ key[1];
    c[3] = a;
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
}

// Which of the 16-bit numbers reach the threshold: bit i for the i-th.
NORMRNN_INLINE uint32_t at_least(Counters numbers, uint16_t threshold) {
  typedef uint16_t Halves __attribute__((vector_size(NORMRNN_VECTOR_BYTES)));
#if defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 64
  return _mm512_cmpge_epu16_mask((__m512i)numbers, (__m512i)(threshold - Halves{}));
#else
  const auto reached = (Halves)numbers >= (threshold - Halves{});
#if defined(__x86_64__) && NORMRNN_VECTOR_BYTES == 32
  const __m256i lanes = (__m256i)reached;
  return uint32_t(_mm_movemask_epi8(
      _mm_packs_epi16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1))));
#elif defined(__x86_64__)
  return uint32_t(_mm_movemask_epi8(_mm_packs_epi16((__m128i)reached, __m128i{})));
#else
  uint32_t bits = 0;
  for (int i = 0; i < 4 * kCounters; ++i) bits |= uint32_t(reached[i] & 1) << i;
  return bits;
#endif
#endif
}

// Bits of one row, `columns` rounded up to 64: 1 where the element is kept.
inline void fill_mask(const cpu::MaskSource& source, uint32_t sequence, uint32_t time,
                      int64_t columns, uint32_t* bits) {
  Counters lane;
  for (int l = 0; l < kCounters; ++l) lane[l] = uint64_t(l);
  for (int64_t q = 0; q < (columns + 63) / 64; ++q) {
    uint32_t low = 0, high = 0;
    for (int l = 0; l < 8; l += kCounters) {
      Counters c[4] = {lane + uint64_t(8 * q + l), sequence - Counters{}, time - Counters{},
                       source.stream - Counters{}};
      philox(c, source.seed);
      low |= at_least((c[0] & 0xffffffffu) | (c[1] << 32), source.threshold) << 4 * l;
      high |= at_least((c[2] & 0xffffffffu) | (c[3] << 32), source.threshold) << 4 * l;
    }
    bits[2 * q] = low;
    bits[2 * q + 1] = high;
  }
}

// Lanes whose element is kept, for columns from `column` on, a multiple of kLanes.
template <class T>
NORMRNN_INLINE typename Simd<T>::I kept_lanes(const uint32_t* bits, int64_t column) {
  using I = typename Simd<T>::I;
  I lane_bit;
  for (int i = 0; i < kLanes<T>; ++i) lane_bit[i] = decltype(+lane_bit[0])(1) << i;
  const uint32_t word = bits[column / 32] >> (column % 32);
  return (lane_bit & (decltype(+lane_bit[0])(word) - I{})) != 0;
}

// One row of a mask, or none: then everything passes as it is.
template <class T>
class MaskRow {
 public:
  NORMRNN_INLINE MaskRow(const Mask<T>& mask, int64_t packed_row, int64_t sequence)
      : bits_(mask.bits ? mask.bits + (mask.per_sequence ? sequence : packed_row) * mask.ld
                        : nullptr),
        scale_(T(mask.scale)) {}
  NORMRNN_INLINE bool exists() const { return bits_ != nullptr; }
  NORMRNN_INLINE typename Simd<T>::I kept(int64_t column) const {
    return kept_lanes<T>(bits_, column);
  }
  NORMRNN_INLINE Vec<T> operator()(Vec<T> v, int64_t column) const {
    if (!bits_) return v;
    return kept(column) ? v * splat(scale_) : Vec<T>{};
  }

 private:
  const uint32_t* bits_;
  T scale_;
};

// What cells are given for their candidates: in a plain pass nothing happens to them.
struct NoDrop {
  static constexpr bool kMasked = false;
  template <class V>
  NORMRNN_INLINE V operator()(V candidate) const {
    return candidate;
  }
};

// In a pass with masks they may be dropped.
template <class T>
struct CandidateDrop {
  static constexpr bool kMasked = true;
  const MaskRow<T>& row;
  int64_t column;
  NORMRNN_INLINE Vec<T> operator()(Vec<T> candidate) const { return row(candidate, column); }
};

// A row of numbers, masked; from and to may be the same.
template <class T>
void mask_row(const Mask<T>& mask, int64_t packed_row, int64_t sequence, int64_t columns,
              const T* from, T* to) {
  const MaskRow<T> row(mask, packed_row, sequence);
  for (int64_t i = 0; i < columns; i += kLanes<T>) {
    const int n = int(min_of(kLanes<T>, columns - i));
    store_n(to + i, row(load_n(from + i, n), i), n);
  }
}

}  // namespace normrnn::NORMRNN_TARGET
