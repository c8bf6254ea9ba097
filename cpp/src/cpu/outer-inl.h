// Weight gradients: c = a^T b, summed over all steps of all sequences, and the column sums of a.
//
// Rows are summed in blocks of kDepth, and the blocks in turn: the order depends on nothing but the
// row count, and the error grows with the number of blocks, not of rows. Both operands lie with a
// long stride, a page for each row, which neither prefetchers nor the cache of pages' addresses like:
// a block of b is packed, and one of a where enough panels use it, so that tiles read one stretch.
#pragma once

#include "cpu/matmul-inl.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::ColumnBlock;
using cpu::Outer;

constexpr int64_t kDepth = 256;
constexpr int64_t kFewestRows = 8 * kDenseRows;  // least, or packing b would show
constexpr int64_t kAheadRows = 24;               // of a: some 300 cycles before they are needed
constexpr int64_t kLeftBytes = 192 << 10;  // of a at most: what a second cache of 256 KB holds

// A tile of c; the first block sets it, the others add to it. count: columns that exist.
template <class T, int kMr>
NORMRNN_INLINE void outer_tile(int64_t rows, const T* a, int64_t ld, const T* b, int64_t depth,
                               T* c, int64_t c_ld, int64_t count, bool first) {
  if constexpr (kMr > 1) {
    if (rows < kMr) {
      return outer_tile<T, kMr - 1>(rows, a, ld, b, depth, c, c_ld, count, first);
    }
  }
  Vec<T> acc[kMr][kDenseSets];
#pragma GCC unroll 32
  for (int m = 0; m < kMr; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kDenseSets; ++n) acc[m][n] = Vec<T>{};
    __builtin_prefetch(c + m * c_ld, 1, 3);
    __builtin_prefetch(c + m * c_ld + kDenseWidth<T> - 1, 1, 3);
  }
  const Ahead ahead{reinterpret_cast<const char*>(a + kMr - 1 + kAheadRows * ld),
                    ld * int64_t(sizeof(T)), 0};
  accumulate<T, T, kMr, 1, kDenseSets, 0, kDenseSets, true>(acc, a, ld, b, 0, depth, ahead);
  for (int n = 0; n < kDenseSets; ++n) {
    const int lanes = int(min_of(kLanes<T>, count - n * kLanes<T>));
    if (lanes <= 0) break;
    for (int m = 0; m < kMr; ++m) {
      T* at = c + m * c_ld + n * kLanes<T>;
      store_n(at, first ? acc[m][n] : load_n(at, lanes) + acc[m][n], lanes);
    }
  }
}

// sums[m] += sum over `depth` rows of a[k, m], m in [0, count).
template <class T>
void add_columns(const T* a, int64_t ld, int64_t depth, int64_t count, T* sums) {
  constexpr int kV = 4;  // vectors side by side, to hide the latency of the additions
  for (int64_t m = 0; m < count; m += kV * kLanes<T>) {
    Vec<T> part[kV] = {};
    const auto lanes = [&](int v) {
      return int(max_of(0, min_of(count - m - v * kLanes<T>, kLanes<T>)));
    };
    for (int64_t k = 0; k < depth; ++k) {
      for (int v = 0; v < kV; ++v) {
        part[v] += load_n(a + k * ld + m + v * kLanes<T>, lanes(v));
      }
    }
    for (int v = 0; v < kV; ++v) {
      T* at = sums + m + v * kLanes<T>;
      store_n(at, load_n(at, lanes(v)) + part[v], lanes(v));
    }
  }
}

// What one worker computes in one go: rows [m_begin, m_end) of a block of c, some of its panels.
template <class T>
struct OuterTask {
  const Outer<T>* op;
  const ColumnBlock* block;
  int64_t m_begin, m_end, panel_begin, panel_end;
};

// The panel of b for rows [i, i + depth), side by side; fetches ahead the next one.
template <class T>
NORMRNN_INLINE void pack_rows_of_b(const Outer<T>& op, int64_t i, int64_t depth, int64_t panel,
                                   T* packed) {
  constexpr int kW = kDenseWidth<T>;
  const int64_t first = panel * kW, count = min_of(kW, op.columns - first);
  for (int64_t k = 0; k < depth; ++k) {
    const T* row = op.b + (op.map ? op.map[i + k] : i + k) * op.b_ld + first;
    for (int v = 0; v < kDenseSets; ++v) {
      __builtin_prefetch(row + kW + v * kLanes<T>, 0, 2);
      const int n = int(max_of(0, count - v * kLanes<T>));
      store(packed + k * kW + v * kLanes<T>, load_n(row + v * kLanes<T>, n));
    }
  }
}

// The products of a task, a block of rows at a time.
template <class T>
class VectorOuter {
 public:
  // Most rows of c in a task: what it packs of a in a block stays in the core's own cache.
  static constexpr int64_t kRows =
      kLeftBytes / kDepth / int64_t(sizeof(T)) / kDenseRows * int64_t(kDenseRows);

 private:
  static constexpr int64_t kPanelsWorthIt = 3;  // fewest that packing a pays with
  static constexpr int64_t kRowsAtOnce = 8;     // packed in one tile before the next: one stretch
  static constexpr int kVectors = (kDenseRows + kLanes<T> - 1) / kLanes<T>;  // of a tile's row
  static constexpr int64_t kSpace = kVectors * kLanes<T>;  // for what is stored past a tile

 public:
  struct Memory {
    alignas(64) T a[kDepth * kRows + kRows / kDenseRows * kSpace];
    alignas(64) T b[kDepth * kDenseWidth<T>];
  };

  explicit VectorOuter(Memory& memory) : memory_(memory) {}

  // The block's rows of a: `count` columns of them, for so many panels.
  void take_left(const T* a, int64_t ld, int64_t depth, int64_t count, int64_t panels) {
    depth_ = depth;
    count_ = count;
    packed_ = panels >= kPanelsWorthIt;
    left_ = a;
    left_ld_ = ld;
    if (packed_) pack_left();
  }

  // Those of b from row i on, one panel; c is set to the product, or it is added.
  void multiply(const Outer<T>& op, int64_t i, int64_t panel, T* c) {
    pack_rows_of_b(op, i, depth_, panel, memory_.b);
    for_tiles([&](int64_t tile, int64_t m, int64_t rows) __attribute__((always_inline)) {
      const T* a = packed_ ? memory_.a + tile * size() : left_ + m;
      outer_tile<T, kDenseRows>(rows, a, packed_ ? kDenseRows : left_ld_, memory_.b, depth_,
                                c + m * op.c_ld, op.c_ld, op.columns - panel * kDenseWidth<T>,
                                i == 0);
    });
  }

 private:
  // f(tile, its first column of a, its columns).
  template <class F>
  NORMRNN_INLINE void for_tiles(F&& f) const {
    const Heights heights(count_, kDenseRows);
    for (int64_t t = 0, m = 0; t < heights.tiles; m += heights.of(t++)) f(t, m, heights.of(t));
  }

  // Of a packed tile.
  int64_t size() const { return depth_ * kDenseRows + kSpace; }

  // Tile by tile, in each the rows on end; what is stored past a row the next one is stored over.
  void pack_left() {
    for (int64_t k = 0; k < depth_; k += kRowsAtOnce) {
      const int64_t end = min_of(depth_, k + kRowsAtOnce);
      for_tiles([&](int64_t tile, int64_t m, int64_t) __attribute__((always_inline)) {
        const T* row = left_ + k * left_ld_ + m;
        T* to = memory_.a + tile * size() + k * kDenseRows;
        for (int64_t i = k; i < end; ++i, row += left_ld_, to += kDenseRows) {
          for (int v = 0; v < kVectors; ++v) {
            __builtin_prefetch(row + kAheadRows * left_ld_ + v * kLanes<T>, 0, 2);
            const int n = int(max_of(0, min_of(kLanes<T>, count_ - m - v * kLanes<T>)));
            store(to + v * kLanes<T>, load_n(row + v * kLanes<T>, n));
          }
        }
      });
    }
  }

  Memory& memory_;
  const T* left_;
  int64_t left_ld_, depth_, count_;
  bool packed_;
};

// By what numbers of type T are multiplied as.
template <class T, class E>
struct OuterFor {
  using Type = VectorOuter<T>;
};

template <class T, class E>
constexpr int64_t kOuterBytes = sizeof(typename OuterFor<T, E>::Type::Memory);

template <class T, class Product>
bool outer_task(const OuterTask<T>& task, Product& product, Worker& worker) {
  constexpr int kW = kDenseWidth<T>;
  const Outer<T>& op = *task.op;
  const int64_t count = task.m_end - task.m_begin;
  T* sums = op.sums && task.panel_begin == 0 ? op.sums + task.block->to + task.m_begin : nullptr;
  for (int64_t m = 0; sums && m < count; ++m) sums[m] = T(0);
  for (int64_t i = 0; i < op.rows; i += kDepth) {
    const int64_t depth = min_of(kDepth, op.rows - i);
    const T* a = op.a + i * op.a_ld + task.block->from + task.m_begin;
    product.take_left(a, op.a_ld, depth, count, task.panel_end - task.panel_begin);
    if (sums) add_columns(a, op.a_ld, depth, count, sums);
    for (int64_t p = task.panel_begin; p < task.panel_end; ++p) {
      product.multiply(op, i, p, op.c + (task.block->to + task.m_begin) * op.c_ld + p * kW);
      if (worker.cancelled(depth * count * kW)) return false;
    }
  }
  return true;
}

// No rows: c and the sums are 0.
template <class T>
void clear_outer(const Outer<T>& op) {
  for (int j = 0; j < op.blocks; ++j) {
    for (int64_t m = op.block[j].to; m < op.block[j].to + op.block[j].count; ++m) {
      for (int64_t n = 0; n < op.columns; ++n) op.c[m * op.c_ld + n] = T(0);
      if (op.sums) op.sums[m] = T(0);
    }
  }
}

// Each block of c is cut into ranges of rows, all of about one height, and if these are too few for
// the workers into groups of panels; the cut does not change any sum.
template <class T, class E>
void outer(const Outer<T>* ops, int count, Worker& worker, void* memory) {
  using Product = typename OuterFor<T, E>::Type;
  constexpr int64_t kMost = Product::kRows;
  Product product(*static_cast<typename Product::Memory*>(memory));
  int64_t task = 0, mine = worker.next();
  for (int o = 0; o < count; ++o) {
    const Outer<T>& op = ops[o];
    if (op.rows == 0 && worker.rank() == 0) clear_outer(op);
    const int64_t panels = (op.columns + kDenseWidth<T> - 1) / kDenseWidth<T>;
    for (int j = 0; j < op.blocks && op.rows; ++j) {
      const int64_t rows = op.block[j].count, size = worker.size();
      if (rows == 0) continue;
      const int64_t fewest = (rows + kMost - 1) / kMost;
      const int64_t most = max_of(fewest, rows / kFewestRows);
      // A multiple of the workers where there is room for one, up to four tasks for each.
      const int64_t wanted = (max_of(fewest, min_of(most, 4 * size)) + size - 1) / size * size;
      const int64_t ranges = min_of(rows, wanted <= most ? wanted : most);
      const int64_t groups =
          max_of(1, min_of(panels, ranges < size ? (2 * size + ranges - 1) / ranges : 1));
      for (int64_t r = 0; r < ranges; ++r) {
        for (int64_t g = 0; g < groups; ++g) {
          if (task++ != mine) continue;
          const OuterTask<T> one{&op,
                                 &op.block[j],
                                 rows * r / ranges,
                                 rows * (r + 1) / ranges,
                                 panels * g / groups,
                                 panels * (g + 1) / groups};
          if (!outer_task(one, product, worker)) return;
          mine = worker.next();
        }
      }
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
