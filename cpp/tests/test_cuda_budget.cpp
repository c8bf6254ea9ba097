// The budgets of the persistent CUDA path hold, and the cost model takes the path that is expected.
// NORMRNN_TABLES=1 prints docs/cuda.md's tables.
#include "check.h"
#include "cuda/plan/cost_model.h"

namespace normrnn::test {
namespace {

using namespace cuda::plan;

constexpr CellSize kElman{1, 1, 0}, kGru{3, 1, 4}, kLstm{4, 2, 4};
constexpr Engine kEngines[] = {Engine::kMma, Engine::kWgmma, Engine::kTf32, Engine::kFfma};

// Where the weights are, whatever the split, there is room for all of them.
void check_budget(const Task& task, const Gpu& gpu) {
  const Slicing& s = task.slicing;
  const Budget b = make_budget(task, gpu);
  const int64_t warps = gpu.threads / kLanesOfWarp;
  CHECK(b.warps_m * b.warps_k * tile_warps(s.engine) == warps);
  CHECK(b.columns % kColumns == 0 && b.columns * task.chunks >= task.rows);
  CHECK(b.columns - task.chunk_rows() < kColumns);
  const int64_t in_registers = b.weight_registers * 4 * kLanesOfWarp * warps;
  const int64_t weights = s.most_granules() * s.granule * s.product.row_gates() *
                          s.product.depth() * weight_bytes(s.engine);
  CHECK(in_registers + b.shared_weights >= weights);
  if (!b.fits) return;
  CHECK(b.registers() <= 255 && b.registers() * gpu.threads <= 65536);
  CHECK(b.sum_registers <= kSumRegisters && b.shared() <= gpu.shared_bytes);
  // The operand of a chunk, or the cluster's slots, hold all values.
  const int64_t values = b.columns * s.product.depth() * weight_bytes(s.engine);
  CHECK(task.exchange == Exchange::kFlags ? b.operand >= values
                                          : b.slots >= 2 * task.chunks * values);
}

void check_budgets() {
  const Gpu gpu;
  int fitting = 0, others = 0;
  for (const CellSize cell : {kElman, kGru, kLstm}) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (const Engine engine : kEngines) {
        const int row_gates = pass == Pass::kForward ? cell.gates : 1;
        for (const int granule : granules_of(engine, row_gates).size) {
          for (const int64_t hidden : {1, 33, 200, 1000, 3000}) {
            for (const int64_t rows : {1, 5, 33}) {
              for (const int64_t chunks : {1, 2}) {
                for (const Exchange exchange : {Exchange::kCluster, Exchange::kFlags}) {
                  if (granule == 0 || chunks > rows) continue;
                  const int64_t blocks = exchange == Exchange::kCluster ? 8 : 132;
                  const Task task{{{pass, cell.gates, hidden}, engine, granule, blocks},
                                  cell,
                                  exchange,
                                  rows,
                                  chunks};
                  check_budget(task, gpu);
                  (make_budget(task, gpu).fits ? fitting : others) += 1;
                }
              }
            }
          }
        }
      }
    }
  }
  CHECK(fitting > 0 && others > 0);
}

// What shared memory alone would hold, the first bound of the design.
void check_bounds() {
  const Gpu gpu;
  struct Bound {
    int gates;
    int64_t bytes, blocks, hidden;
  };
  const Bound bounds[] = {{4, 2, 8, 482},    {4, 4, 8, 340},    {3, 2, 8, 556},
                          {3, 4, 8, 393},    {1, 2, 8, 964},    {1, 4, 8, 681},
                          {4, 2, 132, 1958}, {4, 4, 132, 1384}, {3, 2, 132, 2261},
                          {3, 4, 132, 1599}, {1, 2, 132, 3916}, {1, 4, 132, 2769}};
  for (const Bound& at : bounds) {
    const int64_t got = largest_hidden_in_shared(at.gates, at.bytes, at.blocks, gpu);
    CHECK(got == at.hidden);
  }
}

struct Row {
  const char* cell;
  CellSize size;
  Pass pass;
  Engine engine;
  int64_t most[4];  // cluster of 8, of 16, all SMs with 8 rows, all SMs with 32 rows
};

constexpr Pass kF = Pass::kForward, kB = Pass::kBackward;
// docs/cuda.md, "The largest H".
const Row kLargest[] = {
    {"LSTM", kLstm, kF, Engine::kMma, {448, 640, 2112, 1408}},
    {"LSTM", kLstm, kB, Engine::kMma, {512, 704, 2080, 864}},
    {"GRU", kGru, kF, Engine::kMma, {608, 768, 2176, 1872}},
    {"GRU", kGru, kB, Engine::kMma, {592, 800, 2112, 1120}},
    {"Elman", kElman, kF, Engine::kMma, {1088, 1536, 4224, 2960}},
    {"Elman", kElman, kB, Engine::kMma, {1072, 1536, 4224, 2944}},
    {"LSTM", kLstm, kF, Engine::kFfma, {352, 512, 1312, 1056}},
    {"LSTM", kLstm, kB, Engine::kFfma, {272, 480, 1056, 400}},
    {"GRU", kGru, kF, Engine::kFfma, {384, 544, 1568, 1056}},
    {"GRU", kGru, kB, Engine::kFfma, {384, 512, 1088, 528}},
    {"Elman", kElman, kF, Engine::kFfma, {768, 1024, 2464, 1504}},
    {"Elman", kElman, kB, Engine::kFfma, {768, 1024, 2464, 1504}},
};

void check_largest() {
  const Gpu gpu;
  const bool print = std::getenv("NORMRNN_TABLES") != nullptr;
  for (const Row& row : kLargest) {
    const auto most = [&](Exchange exchange, int64_t blocks, int64_t rows) {
      return largest_hidden(row.size, row.pass, row.engine, exchange, blocks, rows, gpu);
    };
    const int64_t got[4] = {most(Exchange::kCluster, 8, 8), most(Exchange::kCluster, 16, 8),
                            most(Exchange::kFlags, gpu.sms, 8),
                            most(Exchange::kFlags, gpu.sms, 32)};
    for (int i = 0; i < 4; ++i) CHECK(got[i] == row.most[i]);
    if (!print) continue;
    std::printf("| %s %s, %s | %d | %d | %d | %d |\n", row.cell,
                row.pass == kF ? "forward" : "backward",
                row.engine == Engine::kMma ? "16 bits" : "float32", int(got[0]), int(got[1]),
                int(got[2]), int(got[3]));
  }
}

// Paths -------------------------------------------------------------------------------------------

const char* name(Path path) {
  return path == Path::kGeneral ? "general" : path == Path::kCluster ? "cluster" : "whole GPU";
}

struct Point {
  const char* what;
  CellSize cell;
  Operand operand;
  int64_t times, batch, hidden;
  Path forward;
};

const Point kPoints[] = {
    {"LSTM", kLstm, Operand::kHalf, 1024, 16, 768, Path::kWholeGpu},
    {"LSTM", kLstm, Operand::kHalf, 150, 16, 256, Path::kCluster},
    {"LSTM", kLstm, Operand::kHalf, 25, 16, 512, Path::kCluster},
    {"LSTM", kLstm, Operand::kHalf, 25, 64, 1024, Path::kWholeGpu},
    {"LSTM", kLstm, Operand::kHalf, 25, 32, 4096, Path::kGeneral},
    {"LSTM", kLstm, Operand::kHalf, 100, 1, 128, Path::kCluster},
    {"LSTM", kLstm, Operand::kFloat32, 1024, 16, 768, Path::kWholeGpu},
    {"LSTM", kLstm, Operand::kFloat32, 100, 32, 128, Path::kCluster},
    {"LSTM", kLstm, Operand::kFloat64, 100, 32, 128, Path::kGeneral},
    {"GRU", kGru, Operand::kHalf, 300, 20, 800, Path::kWholeGpu},
    {"GRU", kGru, Operand::kHalf, 1500, 32, 1024, Path::kWholeGpu},
    {"GRU", kGru, Operand::kHalf, 1500, 32, 2816, Path::kGeneral},
    {"tanh", kElman, Operand::kHalf, 50, 32, 1760, Path::kWholeGpu},
};

void check_point(const Point& at, Pass pass) {
  const Gpu gpu;
  const Assumed assumed;
  const Problem problem{at.cell, pass, at.operand, at.times, at.batch, at.hidden};
  const Choice best = choose(problem, gpu, assumed);
  if (pass == kF && best.path != at.forward) {
    std::printf("%s B %d H %d: expected %s, got %s\n", at.what, int(at.batch), int(at.hidden),
                name(at.forward), name(best.path));
    ++failures;
  }
  const Floor floor = floor_of(problem, gpu, assumed);
  for (const Choice& c : choices(problem, gpu, assumed)) {
    CHECK(best.nanoseconds <= c.nanoseconds);
    const double step = (c.nanoseconds - assumed.launch) / double(at.times);
    CHECK(step >= std::max(floor.bytes, floor.operations));  // nothing is faster than its floor
    if (c.path == Path::kGeneral) continue;
    CHECK(c.budget.fits && c.groups * c.task.rows >= at.batch);
    const int64_t blocks = c.groups * c.task.slicing.blocks;
    CHECK(blocks <= gpu.sms && c.task.slicing.blocks <= c.task.slicing.granules());
  }
  if (!std::getenv("NORMRNN_TABLES")) return;
  std::printf("| %s %s %d, %d, %d %s | %.2f, %.2f | %.1f | %s |", at.what,
              pass == kF ? "forward" : "backward", int(at.times), int(at.batch), int(at.hidden),
              at.operand == Operand::kHalf      ? "16 bits"
              : at.operand == Operand::kFloat32 ? "float32"
                                                : "float64",
              floor.bytes / 1e3, floor.operations / 1e3, general_step(problem, gpu, assumed) / 1e3,
              name(best.path));
  if (best.path == Path::kGeneral) {
    std::printf(" | |\n");
    return;
  }
  const StepTime& s = best.step;
  std::printf(" %d x %d blocks, %d rows", int(best.groups), int(best.task.slicing.blocks),
              int(best.task.rows));
  if (best.task.chunks > 1) std::printf(" in %d", int(best.task.chunks));
  std::printf(" | %.2f = %.2f", s.total() / 1e3, s.exchange / 1e3);
  std::printf(", %.2f, %.2f, %.2f |\n", s.words / 1e3, std::max(s.product, s.weights) / 1e3,
              s.cell / 1e3);
}

void check_paths() {
  for (const Point& at : kPoints) {
    for (const Pass pass : {kF, kB}) check_point(at, pass);
  }
}

// Slower exchanges must turn the choice: the model looks at what it is told.
void check_sensitivity() {
  const Gpu gpu;
  Assumed slow;
  slow.flag_latency = 20000;
  for (double& latency : slow.cluster_latency) latency = 20000;
  const Problem problem{kLstm, kF, Operand::kHalf, 1024, 16, 256};
  CHECK(choose(problem, gpu, slow).task.slicing.blocks <= 1);
  slow = {};
  for (double& latency : slow.cluster_latency) latency = 5000;
  CHECK(choose(problem, gpu, slow).path == Path::kWholeGpu);
  Gpu small;
  small.sms = 1;
  for (int64_t& clusters : small.clusters) clusters = 0;
  CHECK(choose(problem, small, Assumed{}).path == Path::kGeneral);
  CHECK(choose({kLstm, kF, Operand::kHalf, 0, 16, 256}, gpu, Assumed{}).nanoseconds > 0);
  CHECK(choose({kLstm, kF, Operand::kHalf, 10, 0, 256}, gpu, Assumed{}).path == Path::kGeneral);
  // 3xTF32 where it is allowed, and never at a loss.
  Problem split{kLstm, kF, Operand::kFloat32, 1024, 16, 768};
  const double plain = choose(split, gpu, Assumed{}).nanoseconds;
  split.split_tf32 = true;
  CHECK(choose(split, gpu, Assumed{}).nanoseconds <= plain);
}

void tests() {
  check_budgets();
  check_bounds();
  check_largest();
  check_paths();
  check_sensitivity();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
