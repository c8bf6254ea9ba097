// Tiles on the matrix unit of a CPU with AMX: sums of products of bfloat16, in tile registers.
//
// A tile register holds 16 rows of 64 bytes. Four hold the sums of a tile, two its rows of a, two b.
// Operands are taken 32 numbers at a time, zeros past a segment's end: of those the products of even
// and of odd places are summed apart, from zero on, and the two sums are added to the sum so far.
// Assembly, for the compiler's own functions do not say that they read and write memory.
#pragma once

#include "cpu/tile.h"

namespace normrnn::NORMRNN_TARGET::matrix_unit {

constexpr int kRows = 16;     // of a tile register
constexpr int kPairs = 16;    // in a row of one
constexpr int kSumTiles = 4;  // registers 0 to 3: block of rows by block of rows, the sets of each
constexpr int kFirstA = 4, kFirstB = 6;

// Blocks of rows that a tile with `sets` vectors has at most.
constexpr int blocks_of(int sets) { return kSumTiles / sets; }

template <int kTile>
NORMRNN_INLINE void load_tile(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}

template <int kTile>
NORMRNN_INLINE void store_tile(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}

template <int kSum, int kA, int kB>
NORMRNN_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}

// How many rows the registers have, for tiles with kSets vectors. They are this thread's while this
// lives.
template <int kSets>
class Registers {
 public:
  ~Registers() {
    if (rows_) asm volatile("tilerelease");
  }

  // To be called for each tile: between two of them the interrupt check may have run.
  NORMRNN_INLINE void set_rows(int64_t rows) {
    if (rows == rows_ && checks_ == interrupt_checks()) return;
    rows_ = rows;
    checks_ = interrupt_checks();
    struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int block = 0; block < blocks_of(kSets) && block * kRows < rows; ++block) {
      const auto high = uint8_t(min_of(kRows, rows - block * kRows));
      for (int set = 0; set < kSets; ++set) config.rows[block * kSets + set] = high;
      config.rows[kFirstA + block] = high;
    }
    config.rows[kFirstB] = config.rows[kFirstB + 1] = kRows;
    for (int tile = 0; tile < 8; ++tile) config.row_bytes[tile] = config.rows[tile] ? 64 : 0;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }

 private:
  int64_t rows_ = 0;
  unsigned checks_ = 0;
};

// f(number) for the numbers [0, kCount), each a constant.
template <int kNumber>
struct Constant {
  static constexpr int value = kNumber;
};
template <int kCount, int kFrom = 0, class F>
NORMRNN_INLINE void for_each(const F& f) {
  if constexpr (kFrom < kCount) {
    f(Constant<kFrom>{});
    for_each<kCount, kFrom + 1>(f);
  }
}

// Sums of sets [kFirst, kFirst + kCount) += 32 numbers of each row of a times b's. Strides in bytes.
template <int kSets, int kFirst, int kCount, int kBlocks>
NORMRNN_INLINE void multiply_32(const Bf16Pair* a, int64_t a_stride, const Bf16Pair* b) {
  for_each<kBlocks>([&](auto block) __attribute__((always_inline)) {
    load_tile<kFirstA + block.value>(
        reinterpret_cast<const char*>(a) + block.value * kRows * a_stride, a_stride);
  });
  for_each<kCount>([&](auto set) __attribute__((always_inline)) {
    constexpr int kB = kFirstB + set.value % 2;
    load_tile<kB>(b + set.value * kPairs, kCount * kPairs * int64_t(sizeof(Bf16Pair)));
    for_each<kBlocks>([&](auto block) __attribute__((always_inline)) {
      multiply_tiles<block.value * kSets + kFirst + set.value, kFirstA + block.value, kB>();
    });
  });
}

// The same with what a segment has past its last 32: fewer, and zeros.
template <int kSets, int kFirst, int kCount, int kBlocks>
NORMRNN_INLINE void multiply_rest(const Bf16Pair* a, int64_t ld, int64_t rows, const Bf16Pair* b,
                                  int64_t k) {
  alignas(64) Bf16Pair a_rest[kBlocks * kRows * kPairs], b_rest[kPairs * kCount * kPairs];
  const auto some = __mmask16((1u << k) - 1);
  for (int64_t m = 0; m < rows; ++m) {
    _mm512_store_si512(a_rest + m * kPairs, _mm512_maskz_loadu_epi32(some, a + m * ld));
  }
  for (int64_t i = 0; i < kPairs * kCount; ++i) {
    const __mmask16 all = i < k * kCount ? 0xffff : 0;
    _mm512_store_si512(b_rest + i * kPairs, _mm512_maskz_loadu_epi32(all, b + i * kPairs));
  }
  multiply_32<kSets, kFirst, kCount, kBlocks>(a_rest, kPairs * int64_t(sizeof(Bf16Pair)), b_rest);
}

// Tiles of kGates + kSplit gates with kUnits vectors each.
template <int kGates, int kSplit, int kUnits>
class MatrixTile {
  static constexpr int kSets = (kGates + kSplit) * kUnits, kAll = kGates * kUnits;
  static constexpr int kMostBlocks = blocks_of(kSets);

 public:
  static constexpr int kRows = kMostBlocks * matrix_unit::kRows;
  static constexpr int kVectors = kRows * kSets;
  static constexpr int most_panels(int64_t) { return 1; }

  NORMRNN_INLINE void multiply(int64_t rows, int64_t, const Start<float>& start,
                               const Segment<Bf16Pair>* input, int segments,
                               const Segment<Bf16Pair>& recurrent, Slice slice, float* tile) {
    registers_.set_rows(rows);
    if constexpr (kMostBlocks > 1) {
      if (rows <= matrix_unit::kRows) {
        return blocks<1>(rows, start, input, segments, recurrent, slice, tile);
      }
    }
    blocks<kMostBlocks>(rows, start, input, segments, recurrent, slice, tile);
  }

 private:
  template <int kBlocks>
  __attribute__((noinline)) static void blocks(int64_t rows, const Start<float>& start,
                                               const Segment<Bf16Pair>* input, int segments,
                                               const Segment<Bf16Pair>& recurrent, Slice slice,
                                               float* tile) {
    constexpr int64_t kRow = kSets * 64;
    for_each<kBlocks * kSets>([&](auto sum) __attribute__((always_inline)) {
      constexpr int kFirst = sum.value / kSets * matrix_unit::kRows, kSet = sum.value % kSets;
      load_tile<sum.value>(start.data + kFirst * start.row_stride + kSet * kLanes<float>,
                           start.row_stride * int64_t(sizeof(float)));
    });
    for (int s = 0; s < segments; ++s) add<kBlocks, 0>(input[s], rows, slice);
    add<kBlocks, kSplit * kUnits>(recurrent, rows, slice);
    for_each<kBlocks * kSets>([&](auto sum) __attribute__((always_inline)) {
      constexpr int kFirst = sum.value / kSets * matrix_unit::kRows, kSet = sum.value % kSets;
      store_tile<sum.value>(tile + (kFirst * kSets + kSet) * kLanes<float>, kRow);
    });
  }

  template <int kBlocks, int kFirst>
  NORMRNN_INLINE static void add(const Segment<Bf16Pair>& segment, int64_t rows, Slice slice) {
    constexpr int64_t kWidth = kAll * kLanes<float>;
    Ahead ahead = ahead_of(segment, 1, kWidth, slice);
    int64_t k = 0;
    for (; k + kPairs <= segment.k; k += kPairs) {
      const char* end = ahead.at + kPairs * ahead.step;
      for (; ahead.at < end; ahead.at += 64) {
        __builtin_prefetch(ahead.at, 0, 2);
        __builtin_prefetch(ahead.at + ahead.more, 0, 2);
      }
      multiply_32<kSets, kFirst, kAll, kBlocks>(
          segment.a + k, segment.ld * int64_t(sizeof(Bf16Pair)), segment.b + k * kWidth);
    }
    if (k < segment.k) {
      multiply_rest<kSets, kFirst, kAll, kBlocks>(segment.a + k, segment.ld, rows,
                                                  segment.b + k * kWidth, segment.k - k);
    }
  }

  Registers<kSets> registers_;
};

}  // namespace normrnn::NORMRNN_TARGET::matrix_unit

namespace normrnn::NORMRNN_TARGET {

template <int kGates, int kSplit, int kUnits>
struct TileFor<float, Bf16Pair, kGates, kSplit, kUnits> {
  using Type = matrix_unit::MatrixTile<kGates, kSplit, kUnits>;
};

}  // namespace normrnn::NORMRNN_TARGET
