// Weights as panels: for each k, the columns of a panel side by side, zero past the last one.
#pragma once

#include "cpu/matmul-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::ColumnBlock;

// Lanes of a and b in turn: those of their lower halves, or of their upper ones.
template <class T>
NORMRNN_INLINE void interleave(Vec<T> a, Vec<T> b, Vec<T>& low, Vec<T>& high) {
  if constexpr (kLanes<T> == 2) {
    low = __builtin_shufflevector(a, b, 0, 2);
    high = __builtin_shufflevector(a, b, 1, 3);
  } else if constexpr (kLanes<T> == 4) {
    low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  } else if constexpr (kLanes<T> == 8) {
    low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  } else {
    low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    high =
        __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
}

// A square of vectors, transposed: each round of interleaving moves one bit of the row number to
// the lane number.
template <class T>
NORMRNN_INLINE void transpose(Vec<T> (&v)[kLanes<T>]) {
  constexpr int kL = kLanes<T>;
#pragma GCC unroll 4
  for (int round = 1; round < kL; round *= 2) {
    Vec<T> next[kL];
#pragma GCC unroll 16
    for (int i = 0; i < kL / 2; ++i) {
      interleave<T>(v[i], v[i + kL / 2], next[2 * i], next[2 * i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kL; ++i) v[i] = next[i];
  }
}

// Rows k of a panel, as operands: one row each, or two.
template <class T>
NORMRNN_INLINE void store_operand(T* out, Vec<T> row, Vec<T>) {
  store(out, row);
}
NORMRNN_INLINE void store_operand(Bf16Pair* out, Vec<float> even, Vec<float> odd) {
  store(out, to_bf16(even) | (to_bf16(odd) << 16));
}

// out[i * stride + u] = w[u * ld + i] for i in [0, k) and kLanes columns u, of which `rows` exist.
template <class T, class E>
void pack_vector(const T* w, int64_t ld, int64_t rows, int64_t k, E* out, int64_t stride) {
  constexpr int kL = kLanes<T>;
  for (int64_t i = 0; i < k; i += kL) {
    const int n = int(min_of(kL, k - i));
    Vec<T> v[kL];
#pragma GCC unroll 16
    for (int u = 0; u < kL; ++u) v[u] = u < rows ? load_n(w + u * ld + i, n) : Vec<T>{};
    transpose<T>(v);
#pragma GCC unroll 16
    for (int j = 0; j < kL; j += cpu::kNumbersIn<E>) {
      if (j < n)
        store_operand(out + (i + j) / cpu::kNumbersIn<E> * stride, v[j],
                      v[j + cpu::kNumbersIn<E> - 1]);
    }
  }
}

// Panels [begin, end) of b[k, columns], k in operands. Its rows are taken from `blocks` in turn,
// each of which begins with a new operand.
template <class T, class E>
void pack(const T* b, int64_t ld, const ColumnBlock* blocks, int count, int64_t k, int64_t columns,
          int64_t begin, int64_t end, E* packed) {
  constexpr int kW = kDenseWidth<T>;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = p * kW, width = min_of(kW, columns - first);
    for (int j = 0; j < count; ++j) {
      for (int64_t i = 0; i < blocks[j].count; i += cpu::kNumbersIn<E>) {
        const T* row = b + (blocks[j].to + i) * ld + first;
        E* out = packed + (p * k + blocks[j].from + i / cpu::kNumbersIn<E>)*kW;
        for (int v = 0; v < kDenseSets; ++v) {
          const int n = int(max_of(0, width - v * kLanes<T>));
          const bool last = i + cpu::kNumbersIn<E> > blocks[j].count;  // of an odd number of rows
          const int64_t next = last ? 0 : (cpu::kNumbersIn<E> - 1) * ld;
          Vec<T> second = load_n(row + next + v * kLanes<T>, n);
          if (last) second = Vec<T>{};
          store_operand(out + v * kLanes<T>, load_n(row + v * kLanes<T>, n), second);
        }
      }
    }
  }
}

// The same from the transpose, b[columns, k].
template <class T>
void pack_transposed(const T* b, int64_t ld, int64_t k, int64_t columns, int64_t begin, int64_t end,
                     T* packed) {
  constexpr int kW = kDenseWidth<T>, kL = kLanes<T>;
  for (int64_t column = begin * kW; column < end * kW; column += kL) {
    T* out = packed + column / kW * k * kW + column % kW;
    pack_vector(b + column * ld, ld, columns - column, k, out, kW);
  }
}

// Rows of `count` numbers as rows of pairs, zero to the end of the last vector.
inline void to_pairs(const float* from, int64_t ld, int64_t rows, int64_t count, Bf16Pair* to,
                     int64_t to_ld) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < count; i += kLanes<float>) {
      const int n = int(min_of(kLanes<float>, count - i));
      store_as(to + r * to_ld + i / cpu::kNumbersIn<Bf16Pair>, load_n(from + r * ld + i, n));
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
