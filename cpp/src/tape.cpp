#include "tape.h"

#include <algorithm>

#include "cpu/dispatch.h"

namespace normrnn {
namespace {

// The cost model. Splitting the batch needs no barrier, but each worker then reads all weights at
// every step; below kRowsPerWorker rows that reading, not arithmetic, sets the pace, and splitting
// the units lets each core keep its slice of the weights in its own cache. A barrier costs some
// 0.2 to 0.5 us while every worker runs, but a time slice when one does not, on a machine that is
// shared: each worker must have kBarrierWork multiply-adds a step, some microseconds, to gain.
// Waking a team costs a few microseconds too: calls below kTeamWork run alone.
constexpr int64_t kRowsPerWorker = 8;
constexpr int64_t kBarrierWork = 1 << 17;
constexpr int64_t kTeamWork = 1 << 18;

}  // namespace

Plan make_plan(const Schedule& schedule, int64_t panels, int64_t row_work, int threads) {
  Plan plan{1, {}};
  if (row_work * schedule.rows() >= kTeamWork) {
    const int64_t batch = schedule.batch;
    plan.workers = int(std::min<int64_t>(threads, batch));
    if (batch < kRowsPerWorker * threads) {
      const int64_t worth = row_work * batch / kBarrierWork;
      const int64_t by_units = std::min({int64_t(threads), panels, worth});
      if (by_units > 1 && by_units >= plan.workers) return {int(by_units), {}};
    }
  }
  plan.row_begin = schedule.shares(plan.workers);
  return plan;
}

template <class T>
uint64_t weights_fingerprint(const std::vector<Weights<T>>& weights, const Shape& shape, int gates,
                             int threads) {
  struct Piece {
    const T* data;
    int64_t count;
  };
  constexpr int64_t kPiece = 1 << 15;
  std::vector<Piece> pieces;
  int64_t total = 0;
  const auto add = [&](const T* data, int64_t count) {
    if (!data) return;
    for (int64_t i = 0; i < count; i += kPiece) {
      pieces.push_back({data + i, std::min(kPiece, count - i)});
    }
    total += count;
  };
  const int64_t rows = gates * shape.hidden;
  for (size_t i = 0; i < weights.size(); ++i) {
    const bool first = i < size_t(shape.directions);
    add(weights[i].ih, rows * (first ? shape.input : shape.hidden * shape.directions));
    add(weights[i].hh, rows * shape.hidden);
    add(weights[i].b_ih, rows);
    add(weights[i].b_hh, rows);
  }
  const cpu::Kernels<T>& kernel = kernels<T>();
  std::vector<uint64_t> sums(pieces.size());
  parallel_for(threads, int64_t(pieces.size()), total,
               [&](int64_t i) { sums[i] = kernel.fingerprint(pieces[i].data, pieces[i].count); });
  uint64_t all = 0;
  for (const uint64_t sum : sums) all = (all ^ sum) * 0x9e3779b97f4a7c15u + (all >> 29);
  return all;
}

template uint64_t weights_fingerprint(const std::vector<Weights<float>>&, const Shape&, int, int);
template uint64_t weights_fingerprint(const std::vector<Weights<double>>&, const Shape&, int, int);

}  // namespace normrnn
