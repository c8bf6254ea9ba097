// Weight gradients on the matrix unit: each number as the sum of two of bfloat16, which hold its
// first 16 bits or more. Of their four products the one of the two small parts is left out.
#pragma once

#include "cpu/amx-inl.h"
#include "cpu/outer-inl.h"

namespace normrnn::NORMRNN_TARGET {
namespace matrix_unit {

constexpr int64_t kTilePairs = kRows * kPairs;  // in a register
constexpr int64_t kTileSteps = 2 * kPairs;      // rows of a and b that it holds

// A block's operands of 16 rows or columns, a register after the other.
struct Halves {
  static constexpr int64_t kCount = kDepth / kTileSteps * kTilePairs;
  alignas(64) Bf16Pair large[kCount], small[kCount];
};

// x = large + small, but for bits beyond the 16th; as numbers of bfloat16 in float32. Where x is NaN,
// infinite or rounded to that, `small` is NaN or infinite, and what comes of both is not finite.
struct Parts {
  Vec<float> large, small;

  NORMRNN_INLINE explicit Parts(Vec<float> x) {
    large = rounded(x);
    small = x - large;
    small = small == small ? rounded(small) : small;
  }

 private:
  static NORMRNN_INLINE Vec<float> rounded(Vec<float> x) {
    return (Vec<float>)(((Vec<Bf16Pair>)x + 0x8000u) & 0xffff0000u);
  }
};

// Two numbers of bfloat16, in float32, as a pair.
NORMRNN_INLINE Vec<Bf16Pair> pair_of(Vec<float> even, Vec<float> odd) {
  return (Vec<Bf16Pair>)even >> 16 | (Vec<Bf16Pair>)odd;
}

// Pairs of rows `from` to `from` + 32 of `count`, zero past the last: put(pair, large, small) for
// each. row(k) gives a vector of row k.
template <class Row, class Put>
NORMRNN_INLINE void split_rows(int64_t from, int64_t count, const Row& row, const Put& put) {
  for (int64_t pair = 0; pair < kPairs; ++pair) {
    const int64_t k = from + 2 * pair;
    const Parts even(k < count ? row(k) : Vec<float>{});
    const Parts odd(k + 1 < count ? row(k + 1) : Vec<float>{});
    put(pair, pair_of(even.large, odd.large), pair_of(even.small, odd.small));
  }
}

// Rows of c's left operand, 16 for each of `to`: columns of a, on end. Fetches ahead what comes next
// of them.
inline void split_a(const float* a, int64_t ld, int64_t depth, int64_t columns, Halves* to) {
  for (int64_t k = 0; k < depth; k += kTileSteps) {
    for (int64_t first = 0; first < columns; first += kRows) {
      const int lanes = int(min_of(kRows, columns - first));
      Vec<float> large[kPairs], small[kPairs];
      split_rows(
          k, depth,
          [&](int64_t row) __attribute__((always_inline)) {
            __builtin_prefetch(a + (row + kTileSteps) * ld + first, 0, 2);
            return load_n(a + row * ld + first, lanes);
          },
          [&](int64_t pair, Vec<Bf16Pair> high, Vec<Bf16Pair> low) __attribute__((always_inline)) {
            large[pair] = (Vec<float>)high;
            small[pair] = (Vec<float>)low;
          });
      transpose<float>(large);
      transpose<float>(small);
      Halves& own = to[first / kRows];
      for (int m = 0; m < kRows; ++m) {
        const int64_t at = k / 2 * kRows + m * kPairs;
        store(own.large + at, (Vec<Bf16Pair>)large[m]);
        store(own.small + at, (Vec<Bf16Pair>)small[m]);
      }
    }
  }
}

// Sixteen columns of its right one; fetches ahead what the next block will need.
inline void split_b(const Outer<float>& op, int64_t i, int64_t depth, int64_t first, Halves& to) {
  const int lanes = int(max_of(0, min_of(kLanes<float>, op.columns - first)));
  const auto row_at = [&](int64_t r) __attribute__((always_inline)) {
    return op.b + (op.map ? op.map[r] : r) * op.b_ld + first;
  };
  for (int64_t k = 0; k < depth; k += kTileSteps) {
    split_rows(
        k, depth,
        [&](int64_t row) __attribute__((always_inline)) {
          __builtin_prefetch(row_at(min_of(op.rows - 1, i + kDepth + row)), 0, 2);
          return load_n(row_at(i + row), lanes);
        },
        [&](int64_t pair, Vec<Bf16Pair> high, Vec<Bf16Pair> low) __attribute__((always_inline)) {
          const int64_t at = k / 2 * kRows + pair * kPairs;
          store(to.large + at, high);
          store(to.small + at, low);
        });
  }
}

// sums[32][32] = a's 32 rows times b's 32 columns, over `depth` steps.
inline void multiply_block(const Halves* a, const Halves* b, int64_t depth, float* sums) {
  constexpr int64_t kLine = 64;
  for_each<4>([&](auto sum) __attribute__((always_inline)) {
    asm volatile("tilezero %%tmm%c0" ::"i"(sum.value));
  });
  const auto add = [&](int64_t at, const Bf16Pair* const(&left)[2],
                       const Bf16Pair* const(&right)[2]) __attribute__((always_inline)) {
    for_each<2>([&](auto j) __attribute__((always_inline)) {
      if (left[j.value]) load_tile<kFirstA + j.value>(left[j.value] + at, kLine);
    });
    for_each<2>([&](auto j) __attribute__((always_inline)) {
      load_tile<kFirstB + j.value>(right[j.value] + at, kLine);
    });
    for_each<4>([&](auto sum) __attribute__((always_inline)) {
      multiply_tiles<sum.value, kFirstA + sum.value / 2, kFirstB + sum.value % 2>();
    });
  };
  for (int64_t at = 0; at < (depth + 1) / 2 * kRows; at += kTilePairs) {
    add(at, {a[0].large, a[1].large}, {b[0].large, b[1].large});
    add(at, {nullptr, nullptr}, {b[0].small, b[1].small});
    add(at, {a[0].small, a[1].small}, {b[0].large, b[1].large});
  }
  for_each<4>([&](auto sum) __attribute__((always_inline)) {
    constexpr int64_t kRow = kDenseWidth<float>;
    store_tile<sum.value>(sums + sum.value / 2 * kRows * kRow + sum.value % 2 * kLanes<float>,
                          kRow * int64_t(sizeof(float)));
  });
}

// c = sums[32][32] or c + sums, as much of it as there is.
inline void add_block(const float* sums, int64_t rows, int64_t columns, bool first, float* c,
                      int64_t c_ld) {
  for (int64_t m = 0; m < rows; ++m) {
    for (int v = 0; v < kDenseSets; ++v) {
      const int lanes = int(max_of(0, min_of(kLanes<float>, columns - v * kLanes<float>)));
      float* at = c + m * c_ld + v * kLanes<float>;
      const Vec<float> sum = load(sums + m * kDenseWidth<float> + v * kLanes<float>);
      store_n(at, first ? sum : load_n(at, lanes) + sum, lanes);
    }
  }
}

// The products of a task: the block's rows of a are split once for all panels.
class MatrixOuter {
 public:
  static constexpr int64_t kRows = 256;  // of c in a task; operands of a block take 256 KB

  struct Memory {
    Halves a[kRows / matrix_unit::kRows], b[kDenseSets];
  };

  explicit MatrixOuter(Memory& memory) : memory_(memory) {}

  void take_left(const float* a, int64_t ld, int64_t depth, int64_t count, int64_t) {
    depth_ = depth;
    count_ = count;
    split_a(a, ld, depth, count, memory_.a);
  }

  void multiply(const Outer<float>& op, int64_t i, int64_t panel, float* c) {
    const int64_t first = panel * kDenseWidth<float>;
    registers_.set_rows(kHigh);
    for (int v = 0; v < kDenseSets; ++v) {
      split_b(op, i, depth_, first + v * kLanes<float>, memory_.b[v]);
    }
    alignas(64) float sums[kHigh * kDenseWidth<float>];
    for (int64_t m = 0; m < count_; m += kHigh) {  // past count_: any rows, which nobody reads
      multiply_block(memory_.a + m / matrix_unit::kRows, memory_.b, depth_, sums);
      add_block(sums, min_of(kHigh, count_ - m), op.columns - first, i == 0, c + m * op.c_ld,
                op.c_ld);
    }
  }

 private:
  static constexpr int64_t kHigh = 2 * matrix_unit::kRows;  // rows of two registers
  Registers<kDenseSets> registers_;
  Memory& memory_;
  int64_t depth_, count_;
};

}  // namespace matrix_unit

template <>
struct OuterFor<float, Bf16Pair> {
  using Type = matrix_unit::MatrixOuter;
};

}  // namespace normrnn::NORMRNN_TARGET
