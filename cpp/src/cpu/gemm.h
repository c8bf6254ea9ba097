// Register tiles: the one inner loop that all matrix products of this target share.
//
// A tile is kMr rows by kSets vectors, held in registers while k runs. b is packed so that a panel
// of vectors is contiguous for each k; a is read by broadcast. Each element of the result is one
// chain of additions in the order of k, whatever the tile's height: a row never feels its
// neighbours, nor how rows were shared out among threads.
#pragma once

#include "cpu/kernels.h"
#include "cpu/threads.h"
#include "vec.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::ColumnBlock;
using cpu::MatMul;
using cpu::Outer;
using cpu::Rows;
using cpu::Segment;

// Rows of a tile with `sets` vectors each: as many accumulators as the registers hold.
constexpr int tile_rows(int sets) {
  return NORMRNN_ACCUMULATORS / sets > 0 ? NORMRNN_ACCUMULATORS / sets : 1;
}

constexpr int kDenseSets = 2;  // vectors across a panel of a plain product
template <class T>
constexpr int kDenseWidth = kDenseSets * kLanes<T>;
constexpr int kDenseRows = tile_rows(kDenseSets);

// acc[m][kFirst + n] += sum over k of a(m, k) b(k, n), n in [0, kCount).
// a(m, k) is a[m * ld + k], or a[k * ld + m] when kColumnMajor.
template <class T, int kMr, int kSets, int kFirst, int kCount, bool kColumnMajor>
NORMRNN_INLINE void accumulate(Vec<T> (&acc)[kMr][kSets], const T* a, int64_t ld, const T* b,
                               int64_t k_count) {
  constexpr int kL = kLanes<T>;
#pragma GCC unroll 1
  for (int64_t k = 0; k < k_count; ++k) {
    const auto a_at = [&](int m) { return splat(kColumnMajor ? a[m] : a[m * ld]); };
    if constexpr (kMr < kCount) {  // hold the smaller of the two in registers
      Vec<T> rows[kMr];
#pragma GCC unroll 32
      for (int m = 0; m < kMr; ++m) rows[m] = a_at(m);
#pragma GCC unroll 32
      for (int n = 0; n < kCount; ++n) {
        const Vec<T> column = load(b + n * kL);
#pragma GCC unroll 32
        for (int m = 0; m < kMr; ++m) acc[m][kFirst + n] += rows[m] * column;
      }
    } else {
      Vec<T> columns[kCount];
#pragma GCC unroll 32
      for (int n = 0; n < kCount; ++n) columns[n] = load(b + n * kL);
#pragma GCC unroll 32
      for (int m = 0; m < kMr; ++m) {
        const Vec<T> row = a_at(m);
#pragma GCC unroll 32
        for (int n = 0; n < kCount; ++n) acc[m][kFirst + n] += row * columns[n];
      }
    }
    a += kColumnMajor ? ld : 1;
    b += kCount * kL;
  }
}

template <class T, int kMr, int kSets>
NORMRNN_INLINE void load_tile(Vec<T> (&acc)[kMr][kSets], const T* tile, int64_t row_stride) {
#pragma GCC unroll 32
  for (int m = 0; m < kMr; ++m) {
#pragma GCC unroll 32
    for (int n = 0; n < kSets; ++n) acc[m][n] = load(tile + m * row_stride + n * kLanes<T>);
  }
}

template <class T, int kMr, int kSets>
NORMRNN_INLINE void store_tile(const Vec<T> (&acc)[kMr][kSets], T* tile) {
#pragma GCC unroll 32
  for (int m = 0; m < kMr; ++m) {
#pragma GCC unroll 32
    for (int n = 0; n < kSets; ++n) store(tile + (m * kSets + n) * kLanes<T>, acc[m][n]);
  }
}

// tile[m, :] = start + all segments of input (onto sets [0, kGates)) and one recurrent segment
// (onto sets [kSplit, kGates + kSplit)), each set kUnits vectors wide. Plain products have neither
// split nor input segments. start is one row, the same for all m.
template <class T, int kMr, int kGates, int kSplit, int kUnits>
__attribute__((noinline)) void step_tile(const T* start, const Segment<T>* input, int segments,
                                         const Segment<T>& recurrent, T* tile) {
  constexpr int kSets = (kGates + kSplit) * kUnits;
  Vec<T> acc[kMr][kSets];
  load_tile<T, kMr, kSets>(acc, start, 0);
  for (int s = 0; s < segments; ++s) {
    accumulate<T, kMr, kSets, 0, kGates * kUnits, false>(acc, input[s].a, input[s].ld, input[s].b,
                                                         input[s].k);
  }
  accumulate<T, kMr, kSets, kSplit * kUnits, kGates * kUnits, false>(acc, recurrent.a, recurrent.ld,
                                                                     recurrent.b, recurrent.k);
  store_tile<T, kMr, kSets>(acc, tile);
}

// Picks the tile of the height asked for, 1 <= rows <= kMr.
template <class T, int kMr, int kGates, int kSplit, int kUnits>
NORMRNN_INLINE void step_tile_of(int64_t rows, const T* start, const Segment<T>* input,
                                 int segments, const Segment<T>& recurrent, T* tile) {
  if constexpr (kMr > 1) {
    if (rows < kMr) {
      return step_tile_of<T, kMr - 1, kGates, kSplit, kUnits>(rows, start, input, segments,
                                                              recurrent, tile);
    }
  }
  step_tile<T, kMr, kGates, kSplit, kUnits>(start, input, segments, recurrent, tile);
}

// Height of the tiles that cover `rows` rows evenly: 16 rows with at most 12 a tile are 8 + 8.
NORMRNN_INLINE int64_t even_height(int64_t rows, int64_t most) {
  const int64_t tiles = (rows + most - 1) / most;
  return tiles ? (rows + tiles - 1) / tiles : 1;
}

template <class T>
void matmul(const MatMul<T>& op, Worker& worker) {
  constexpr int kW = kDenseWidth<T>;
  const int64_t panels = (op.columns + kW - 1) / kW;
  // Groups of rows are the unit of work, large enough to use each panel of b several times.
  constexpr int64_t kGroup = 8 * kDenseRows;
  const int64_t groups = (op.rows + kGroup - 1) / kGroup;
  alignas(64) T tile[kDenseRows * kW];
  for (int64_t group = worker.next(); group < groups; group = worker.next()) {
    const int64_t begin = group * kGroup, end = min_of(op.rows, begin + kGroup);
    const int64_t height = even_height(end - begin, kDenseRows);
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t first = p * kW, count = min_of(kW, op.columns - first);
      alignas(64) T start[kW] = {};
      if (op.bias) {
        for (int64_t n = 0; n < count; ++n) start[n] = op.bias[first + n];
      }
      for (int64_t i = begin; i < end; i += height) {
        const int64_t rows = min_of(height, end - i);
        Segment<T> at[kMaxSegments];
        for (int s = 0; s < op.segments; ++s) {
          at[s] = op.segment[s];
          at[s].a += i * at[s].ld;
          at[s].b += p * at[s].k * kW;
        }
        step_tile_of<T, kDenseRows, 1, 0, kDenseSets>(rows, start, at, op.segments - 1,
                                                      at[op.segments - 1], tile);
        for (int64_t m = 0; m < rows; ++m) {
          T* c = op.c.data + (op.c.slot ? op.c.slot[i + m] : i + m) * op.c.ld + first;
          for (int v = 0; v < kDenseSets; ++v) {
            const int n = int(count) - v * kLanes<T>;
            if (n > 0) {
              store_n(c + v * kLanes<T>, load(tile + m * kW + v * kLanes<T>), n);
            }
          }
        }
      }
    }
    if (worker.cancelled(op.columns * (end - begin) * op.segment[0].k)) return;
  }
}

// Weight gradients. Rows are summed in blocks of kDepth, and the blocks in turn: the order depends
// on nothing but the row count, and the error grows with the number of blocks, not of rows.
constexpr int64_t kDepth = 256;
constexpr int64_t kOuterRows = 16 * kDenseRows;  // rows of c that one task computes

template <class T, int kMr>
NORMRNN_INLINE void outer_tile(int64_t rows, const T* a, int64_t ld, const T* b, int64_t depth,
                               T* sum) {
  if constexpr (kMr > 1) {
    if (rows < kMr) return outer_tile<T, kMr - 1>(rows, a, ld, b, depth, sum);
  }
  Vec<T> acc[kMr][kDenseSets] = {};
  accumulate<T, kMr, kDenseSets, 0, kDenseSets, true>(acc, a, ld, b, depth);
  for (int m = 0; m < kMr; ++m) {
    for (int n = 0; n < kDenseSets; ++n) {
      T* at = sum + (m * kDenseSets + n) * kLanes<T>;
      store(at, load(at) + acc[m][n]);
    }
  }
}

template <class T>
void outer_task(const Outer<T>& op, const ColumnBlock& block, int64_t m_begin, int64_t m_end,
                int64_t panel) {
  constexpr int kW = kDenseWidth<T>;
  const int64_t first = panel * kW, count = min_of(kW, op.columns - first);
  alignas(64) T packed[kDepth * kW];
  alignas(64) T sum[kOuterRows * kW] = {};
  const int64_t height = even_height(m_end - m_begin, kDenseRows);
  for (int64_t i = 0; i < op.rows; i += kDepth) {
    const int64_t depth = min_of(kDepth, op.rows - i);
    for (int64_t k = 0; k < depth; ++k) {
      const T* row = op.b + (op.map ? op.map[i + k] : i + k) * op.b_ld + first;
      for (int v = 0; v < kDenseSets; ++v) {
        const int n = int(max_of(0, count - v * kLanes<T>));
        store(packed + k * kW + v * kLanes<T>, load_n(row + v * kLanes<T>, n));
      }
    }
    for (int64_t m = m_begin; m < m_end; m += height) {
      outer_tile<T, kDenseRows>(min_of(height, m_end - m), op.a + i * op.a_ld + block.from + m,
                                op.a_ld, packed, depth, sum + (m - m_begin) * kW);
    }
  }
  for (int64_t m = m_begin; m < m_end; ++m) {
    T* c = op.c + (block.to + m) * op.c_ld + first;
    for (int64_t n = 0; n < count; ++n) c[n] = sum[(m - m_begin) * kW + n];
  }
}

template <class T>
void sums_task(const Outer<T>& op, const ColumnBlock& block, int64_t begin) {
  constexpr int kV = 4;  // vectors side by side, to hide the latency of the additions
  for (int64_t m = begin; m < min_of(block.count, begin + kOuterRows); m += kV * kLanes<T>) {
    const int64_t count = min_of(block.count, begin + kOuterRows) - m;
    Vec<T> total[kV] = {};
    for (int64_t i = 0; i < op.rows; i += kDepth) {
      Vec<T> part[kV] = {};
      for (int64_t k = i; k < min_of(op.rows, i + kDepth); ++k) {
        const T* row = op.a + k * op.a_ld + block.from + m;
        for (int v = 0; v < kV; ++v) {
          const int n = int(max_of(0, min_of(count - v * kLanes<T>, kLanes<T>)));
          part[v] += load_n(row + v * kLanes<T>, n);
        }
      }
      for (int v = 0; v < kV; ++v) total[v] += part[v];
    }
    for (int v = 0; v < kV; ++v) {
      const int n = int(max_of(0, min_of(count - v * kLanes<T>, kLanes<T>)));
      store_n(op.sums + block.to + m + v * kLanes<T>, total[v], n);
    }
  }
}

template <class T>
void outer(const Outer<T>* ops, int count, Worker& worker) {
  constexpr int kW = kDenseWidth<T>;
  int64_t task = 0, mine = worker.next();
  for (int o = 0; o < count; ++o) {
    const Outer<T>& op = ops[o];
    const int64_t panels = op.c ? (op.columns + kW - 1) / kW : 0;
    for (int j = 0; j < op.blocks; ++j) {
      for (int64_t m = 0; m < op.block[j].count; m += kOuterRows) {
        const int64_t end = min_of(op.block[j].count, m + kOuterRows);
        for (int64_t p = 0; p < panels; ++p, ++task) {
          if (task != mine) continue;
          outer_task(op, op.block[j], m, end, p);
          if (worker.cancelled(op.rows * (end - m) * kW)) return;
          mine = worker.next();
        }
        if (op.sums && task++ == mine) {
          sums_task(op, op.block[j], m);
          mine = worker.next();
        }
      }
    }
  }
}

// b[k, columns] with its k rows taken from `blocks` in turn -> panels [k, kDenseWidth], zero-padded.
template <class T>
void pack(const T* b, int64_t ld, const ColumnBlock* blocks, int count, int64_t k, int64_t columns,
          int64_t begin, int64_t end, T* packed) {
  constexpr int kW = kDenseWidth<T>;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = p * kW, width = min_of(kW, columns - first);
    for (int j = 0; j < count; ++j) {
      for (int64_t i = 0; i < blocks[j].count; ++i) {
        const T* row = b + (blocks[j].to + i) * ld + first;
        T* out = packed + (p * k + blocks[j].from + i) * kW;
        for (int v = 0; v < kDenseSets; ++v) {
          const int n = int(max_of(0, width - v * kLanes<T>));
          store(out + v * kLanes<T>, load_n(row + v * kLanes<T>, n));
        }
      }
    }
  }
}

// The same from the transpose, b[columns, k].
template <class T>
void pack_transposed(const T* b, int64_t ld, int64_t k, int64_t columns, int64_t begin, int64_t end,
                     T* packed) {
  constexpr int kW = kDenseWidth<T>;
  for (int64_t p = begin; p < end; ++p) {
    for (int64_t n = 0; n < kW; ++n) {
      T* out = packed + p * k * kW + n;
      const int64_t column = p * kW + n;
      for (int64_t i = 0; i < k; ++i) out[i * kW] = column < columns ? b[column * ld + i] : T(0);
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
