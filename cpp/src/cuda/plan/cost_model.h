// Which path a layer's direction takes on a GPU, from what the model expects each to cost.
#pragma once

#include <vector>

#include "cuda/plan/budget.h"

namespace normrnn::cuda::plan {

enum class Path {
  kGeneral,   // a product and a pointwise kernel a step, under a graph
  kCluster,   // W_hh in a cluster, which exchanges by distributed shared memory
  kWholeGpu,  // W_hh over many SMs, which exchange by flags through L2
};

// Of the operands of products. kFloat32 has FFMA and 3xTF32 to choose from where `split_tf32`
// allows.
enum class Operand { kFloat64, kFloat32, kTf32, kHalf };

struct Problem {
  CellSize cell;
  Pass pass;
  Operand operand;
  int64_t times, batch, hidden;
  bool split_tf32 = false;
};

// Nanoseconds of a step, by what they go to; all but the last two of one chunk. Products overlap
// with reading weights. With several chunks the exchange of one is on its way while others are
// computed.
struct StepTime {
  double exchange;  // latency
  double words;     // the operand's way to the block
  double product;   // arithmetic
  double weights;   // and operands, from shared memory
  double cell;      // and the block's barriers
  int64_t chunks;
  double memory;  // U x, y, tape: beside the rest
  double busy() const;
  double total() const;
};

struct Choice {
  Path path = Path::kGeneral;
  Task task{};  // of a group; of no meaning on the general path
  int64_t groups = 1;
  Budget budget{};
  StepTime step{};         // of the persistent paths
  double nanoseconds = 0;  // of the whole pass
};

// The least that a step can take, whatever the path: the two numbers, and the wait where W_hh stays
// on chip. U x is hoisted and not counted, but for reading it.
struct Floor {
  double bytes;       // ns: U x read, y and tape written (or read), once
  double operations;  // ns: 2 G H^2 B of the unit that does them
  double exchange;    // ns: the assumed latency of the faster exchange
};

Floor floor_of(const Problem& problem, const Gpu& gpu, const Assumed& assumed);

StepTime step_time(const Task& task, const Budget& budget, int64_t groups, const Gpu& gpu,
                   const Assumed& assumed);
double general_step(const Problem& problem, const Gpu& gpu, const Assumed& assumed);

// The fastest plan of each path that can be had: general first, then the others where W_hh fits.
std::vector<Choice> choices(const Problem& problem, const Gpu& gpu, const Assumed& assumed);
Choice choose(const Problem& problem, const Gpu& gpu, const Assumed& assumed);

}  // namespace normrnn::cuda::plan
