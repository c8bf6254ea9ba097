// What a block of the persistent path needs of registers and shared memory, and how its warps share
// out a product.
#pragma once

#include "cuda/plan/exchange.h"
#include "cuda/plan/gpu.h"

namespace normrnn::cuda::plan {

enum class Exchange { kCluster, kFlags };

// Of the cell, what a thread keeps for each of its elements (unit and row of the batch).
struct CellSize {
  int gates, states, tape;
};

// The work of a group of blocks.
struct Task {
  Slicing slicing;
  CellSize cell;
  Exchange exchange;
  int64_t rows;        // of the batch, a group's
  int64_t chunks = 1;  // that a group's rows are taken in, one after another at each step
  NORMRNN_FN constexpr int64_t chunk_rows() const { return ceil_div(rows, chunks); }
};

struct Budget {
  // warps_m * warps_k share a product: a part of the granules, and a part of the depth, each. Sums
  // of warps_k parts are added in shared memory, in a fixed order.
  int64_t warps_m, warps_k;
  int64_t columns;  // of a product: a chunk's rows of the batch, rounded up to kColumns
  // Registers of a thread.
  int64_t weight_registers, sum_registers, element_registers, other_registers;
  // Bytes of shared memory.
  int64_t shared_weights, operand, sums, slots;
  bool fits;

  int64_t registers() const {
    return weight_registers + sum_registers + element_registers + other_registers;
  }
  int64_t shared() const { return shared_weights + operand + sums + slots; }
};

constexpr int64_t kSumRegisters = 64;    // at most: of a thread, for sums
constexpr int64_t kOtherRegisters = 72;  // addresses, counters, the operand's words under way, and
                                         // temporaries of a cell; the compiler's report will tell
constexpr int64_t kRowPadding = 16;  // bytes behind a row of the operand, against bank conflicts

// Weights go into registers first, where a step need not read them, and what is left into shared
// memory. `fits` is false where that is too small; the rest is then what it would have to be.
Budget make_budget(const Task& task, const Gpu& gpu);

// The granules that an engine can have for a product, 0 behind the last one.
struct Granules {
  int size[3];
};
Granules granules_of(Engine engine, int row_gates);

// The largest H whose W_hh fits, or 0; over all granules of the engine. `rows` of the batch a
// group.
int64_t largest_hidden(CellSize cell, Pass pass, Engine engine, Exchange exchange, int64_t blocks,
                       int64_t rows, const Gpu& gpu);

// The same for weights in shared memory with nothing beside them: sqrt(blocks * bytes / (G *
// size)).
int64_t largest_hidden_in_shared(int gates, int64_t bytes_of_weight, int64_t blocks,
                                 const Gpu& gpu);

}  // namespace normrnn::cuda::plan
