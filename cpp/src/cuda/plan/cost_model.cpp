#include "cuda/plan/cost_model.h"

#include <algorithm>

namespace normrnn::cuda::plan {
namespace {

constexpr int64_t kClusterSizes = 5;  // 1 to 16 blocks
constexpr int64_t kWgmmaRows = 64;    // from here on wgmma is considered

std::vector<Engine> engines_of(const Problem& p) {
  switch (p.operand) {
    case Operand::kHalf:
      return {Engine::kMma, Engine::kWgmma};
    case Operand::kTf32:
      return {Engine::kTf32};
    case Operand::kFloat32:
      return p.split_tf32 ? std::vector{Engine::kFfma, Engine::kTf32} : std::vector{Engine::kFfma};
    default:
      return {};  // float64 takes the general path
  }
}

// Floating-point operations a ns of one SM.
double rate(Engine engine, const Gpu& gpu, const Assumed& a) {
  const double of_all = engine == Engine::kFfma    ? gpu.plain_flops * a.ffma
                        : engine == Engine::kWgmma ? gpu.tensor_flops * a.wgmma
                        : engine == Engine::kMma   ? gpu.tensor_flops * a.mma
                                                   : gpu.tensor_flops / 2 * a.mma;
  return of_all / double(gpu.sms);
}

// float32 numbers of one row of one unit that a step reads or writes once in global memory.
double numbers_of_element(CellSize cell, Pass pass) {
  if (pass == Pass::kForward) return cell.gates + cell.states + cell.tape;
  return cell.tape + 2 * cell.states + 1 + cell.gates;  // tape, states, dy; gradients
}

int log2_of(int64_t blocks) {
  int log = 0;
  while ((int64_t{1} << log) < blocks) ++log;
  return log;
}

double element_bytes(Operand operand) {
  return operand == Operand::kFloat64 ? 8 : operand == Operand::kHalf ? 2 : 4;
}

}  // namespace

double StepTime::busy() const { return words + std::max(product, weights) + cell; }

double StepTime::total() const {
  return std::max({exchange + busy(), double(chunks) * busy(), memory});
}

StepTime step_time(const Task& task, const Budget& b, int64_t groups, const Gpu& gpu,
                   const Assumed& a) {
  const Slicing& s = task.slicing;
  const double blocks = double(s.blocks), units = double(s.most_granules() * s.granule);
  StepTime time{};
  time.chunks = task.chunks;

  // Every block takes all words.
  const double operand = double(task.chunk_rows() * s.product.depth() * weight_bytes(s.engine));
  if (task.exchange == Exchange::kCluster) {
    time.exchange = a.cluster_latency[log2_of(s.blocks)];
    time.words = operand * (blocks - 1) / blocks / a.remote_bytes;
  } else {
    time.exchange = a.flag_latency;
    time.words = operand * kPacketBytes / kWordBytes /
                 std::min(a.l2_bytes_sm * a.clock, a.l2_bytes / (blocks * double(groups)));
  }

  // The warp with the most to do sets the pace: rounding is part of the work.
  const double tile = 2.0 * tile_height(s.engine) * tile_depth(s.engine) * double(b.columns);
  const double tiles = double(ceil_div(s.most_granules(), b.warps_m) * b.warps_m) *
                       s.rows().tiles() * double(ceil_div(s.depth_steps(), b.warps_k) * b.warps_k);
  time.product = a.product_latency + tile * tiles / rate(s.engine, gpu, a);
  const double read = double(b.shared_weights) + operand * double(b.warps_m) + 2 * double(b.sums);
  time.weights = a.product_latency + read / (a.shared_bytes * a.clock);

  const double calls = units * double(task.chunk_rows()) * 2 * (task.cell.gates + 1);
  time.cell = a.block_barriers + a.cell_latency + calls / (a.functions * a.clock);
  const double elements = double(s.product.hidden * task.rows * groups);
  time.memory =
      elements * 4 * numbers_of_element(task.cell, s.product.pass) / (gpu.hbm_bytes * a.hbm);
  return time;
}

double general_step(const Problem& p, const Gpu& gpu, const Assumed& a) {
  const double weights = double(p.cell.gates * p.hidden * p.hidden);
  const double bytes = weights * element_bytes(p.operand);
  // Whether W_hh stays in L2 from step to step: other things pass through it, too.
  const double read =
      bytes / (bytes < 0.6 * gpu.l2_bytes_held ? a.l2_bytes : gpu.hbm_bytes * a.hbm);
  const double flops = 2 * weights * double(p.batch);
  // float64 has tensor units at the rate of plain float32.
  const double per_ns = p.operand == Operand::kHalf   ? gpu.tensor_flops * a.gemm
                        : p.operand == Operand::kTf32 ? gpu.tensor_flops / 2 * a.gemm
                                                      : gpu.plain_flops * a.ffma;
  const double numbers = numbers_of_element(p.cell, p.pass) + 2 * p.cell.gates;
  const double pointwise = double(p.batch * p.hidden) * 4 * numbers / (gpu.hbm_bytes * a.hbm);
  return a.nodes_of_step * a.node + std::max({a.product_floor, read, flops / per_ns}) + pointwise;
}

Floor floor_of(const Problem& p, const Gpu& gpu, const Assumed& a) {
  const double elements = double(p.batch * p.hidden);
  const double flops = 2.0 * double(p.cell.gates * p.hidden) * elements;
  const double per_ns = p.operand == Operand::kHalf   ? gpu.tensor_flops
                        : p.operand == Operand::kTf32 ? gpu.tensor_flops / 2
                                                      : gpu.plain_flops;
  return {elements * 4 * numbers_of_element(p.cell, p.pass) / gpu.hbm_bytes, flops / per_ns,
          std::min(a.flag_latency, a.cluster_latency[1])};
}

std::vector<Choice> choices(const Problem& p, const Gpu& gpu, const Assumed& a) {
  Choice best[3];
  bool found[3] = {true, false, false};
  best[0].nanoseconds = a.launch + double(p.times) * general_step(p, gpu, a);
  const int row_gates = p.pass == Pass::kForward ? p.cell.gates : 1;

  const auto consider = [&](Engine engine, int granule, Exchange exchange, int64_t blocks,
                            int64_t most_groups, int64_t chunks) {
    const Slicing slicing{{p.pass, p.cell.gates, p.hidden}, engine, granule, blocks};
    if (blocks > slicing.granules() || most_groups < 1) return;
    const int64_t rows = ceil_div(p.batch, std::min(most_groups, p.batch));
    Choice c;
    c.task = {slicing, p.cell, exchange, rows, chunks};
    if (chunks > rows || (engine == Engine::kWgmma && c.task.chunk_rows() < kWgmmaRows)) return;
    c.groups = ceil_div(p.batch, rows);
    c.budget = make_budget(c.task, gpu);
    if (!c.budget.fits) return;
    c.path = exchange == Exchange::kCluster ? Path::kCluster : Path::kWholeGpu;
    c.step = step_time(c.task, c.budget, c.groups, gpu, a);
    // 3xTF32: the large part of each operand with both parts of the other.
    if (p.operand == Operand::kFloat32 && engine == Engine::kTf32) c.step.product *= 3;
    const double load =
        double(p.cell.gates * p.hidden * p.hidden) * weight_bytes(engine) / (gpu.hbm_bytes * a.hbm);
    c.nanoseconds = a.launch + load + double(p.times) * c.step.total();
    const int at = int(c.path);
    if (!found[at] || c.nanoseconds < best[at].nanoseconds) best[at] = c;
    found[at] = true;
  };
  for (const Engine engine : p.batch > 0 ? engines_of(p) : std::vector<Engine>{}) {
    for (const int granule : granules_of(engine, row_gates).size) {
      if (granule == 0) continue;
      for (const int64_t chunks : {1, 2, 3, 4}) {
        for (int64_t log = 0; log < kClusterSizes; ++log) {
          consider(engine, granule, Exchange::kCluster, int64_t{1} << log, gpu.clusters[log],
                   chunks);
        }
        for (int64_t blocks = 2; blocks <= gpu.sms; ++blocks) {
          consider(engine, granule, Exchange::kFlags, blocks, gpu.sms / blocks, chunks);
        }
      }
    }
  }
  std::vector<Choice> all;
  for (int i = 0; i < 3; ++i) {
    if (found[i]) all.push_back(best[i]);
  }
  return all;
}

Choice choose(const Problem& problem, const Gpu& gpu, const Assumed& assumed) {
  const std::vector<Choice> all = choices(problem, gpu, assumed);
  return *std::min_element(all.begin(), all.end(), [](const Choice& x, const Choice& y) {
    return x.nanoseconds < y.nanoseconds;
  });
}

}  // namespace normrnn::cuda::plan
