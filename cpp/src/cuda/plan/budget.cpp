#include "cuda/plan/budget.h"

#include <algorithm>
#include <cmath>

namespace normrnn::cuda::plan {
namespace {

// Sums of a thread for `columns` of the batch, if warps_m share the granules.
int64_t sums_of_thread(const Slicing& slicing, int64_t warps_m, int64_t columns) {
  const int64_t granules = ceil_div(slicing.most_granules(), warps_m);
  return granules * slicing.rows().tiles() * ceil_div(columns, kColumns) *
         lane_sums(slicing.engine);
}

// As many warps along the depth as the sums allow: more of them mean a shorter chain of products
// for each, and every word of the operand is then read by fewer warps. False where one has too many
// sums.
bool share_out(const Task& task, int64_t warps, Budget& b) {
  const int64_t teams = warps / tile_warps(task.slicing.engine);  // of a tile
  b.columns = round_up(task.chunk_rows(), kColumns);
  for (b.warps_k = teams; b.warps_k > 1; b.warps_k /= 2) {
    if (sums_of_thread(task.slicing, teams / b.warps_k, b.columns) <= kSumRegisters) break;
  }
  b.warps_m = teams / b.warps_k;
  return sums_of_thread(task.slicing, b.warps_m, b.columns) <= kSumRegisters;
}

}  // namespace

Budget make_budget(const Task& task, const Gpu& gpu) {
  const Slicing& s = task.slicing;
  const int64_t warps = gpu.threads / kLanesOfWarp;
  Budget b{};
  const bool sums_fit = share_out(task, warps, b);

  const int64_t steps = ceil_div(s.depth_steps(), b.warps_k);       // of a warp
  const int64_t granules = ceil_div(s.most_granules(), b.warps_m);  // of a warp
  const int64_t units = s.most_granules() * s.granule;
  const int64_t elements = task.chunks * ceil_div(units * task.chunk_rows(), gpu.threads);
  // States between steps, and the gates' input parts (or what the backward pass reads) ahead of
  // time.
  const int64_t ahead =
      s.product.pass == Pass::kForward ? task.cell.gates : task.cell.tape + 2 * task.cell.states;
  b.element_registers = elements * (task.cell.states + ahead);
  b.sum_registers = sums_of_thread(s, b.warps_m, b.columns);
  b.other_registers = kOtherRegisters;

  // A granule's weights for one step of the depth, of a lane; FFMA leaves lanes beyond the rows
  // empty.
  const int64_t lane_bytes = s.engine == Engine::kFfma
                                 ? 4 * kTileRegisters
                                 : s.granule_step_bytes() / (kLanesOfWarp * tile_warps(s.engine));
  const int64_t step_registers = lane_bytes / 4;
  const int64_t need = granules * steps;  // of a warp, of step_registers each
  const int64_t room = gpu.registers - b.element_registers - b.sum_registers - b.other_registers;
  const int64_t held = std::clamp<int64_t>(room / step_registers, 0, need);
  b.weight_registers = held * step_registers;
  b.shared_weights = (need - held) * s.granule_step_bytes() * b.warps_m * b.warps_k;

  const int64_t row_bytes = s.product.depth() * weight_bytes(s.engine) + kRowPadding;
  if (task.exchange == Exchange::kCluster) {
    b.slots = 2 * task.chunks * b.columns * row_bytes;  // others write them, products read them
  } else {
    b.operand = b.columns * row_bytes;  // the slots are in global memory
  }
  b.sums =
      b.warps_k == 1 ? 0 : b.warps_k * units * s.product.row_gates() * (b.columns + 1) * int64_t{4};
  b.fits = sums_fit && room >= 0 && b.shared() <= gpu.shared_bytes;
  return b;
}

Granules granules_of(Engine engine, int row_gates) {
  switch (engine) {
    case Engine::kWgmma:
      return {{32, 64, 0}};
    case Engine::kFfma:  // as many units as 32 lanes take with all their gates, and halves of that
      return row_gates == 1 ? Granules{{8, 16, 32}} : Granules{{4, 8, 0}};
    default:
      return {{8, 16, 0}};
  }
}

int64_t largest_hidden(CellSize cell, Pass pass, Engine engine, Exchange exchange, int64_t blocks,
                       int64_t rows, const Gpu& gpu) {
  const int row_gates = pass == Pass::kForward ? cell.gates : 1;
  int64_t largest = 0;
  for (const int granule : granules_of(engine, row_gates).size) {
    for (int64_t hidden = granule; granule > 0 && hidden <= 8192; hidden += granule) {
      const Task task{{{pass, cell.gates, hidden}, engine, granule, blocks}, cell, exchange, rows};
      if (make_budget(task, gpu).fits) largest = std::max(largest, hidden);
    }
  }
  return largest;
}

int64_t largest_hidden_in_shared(int gates, int64_t bytes_of_weight, int64_t blocks,
                                 const Gpu& gpu) {
  return int64_t(std::sqrt(double(blocks * gpu.shared_bytes) / double(gates * bytes_of_weight)));
}

}  // namespace normrnn::cuda::plan
