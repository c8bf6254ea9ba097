#include "plan.h"

#include <unistd.h>

#include <algorithm>

#include "cpu/threads.h"

namespace normrnn {
namespace {

// The cost model, in nanoseconds. A step of a worker takes as long as its multiply-adds, or as
// reading its weights once, whichever is longer, and a tenth of the other: tiles fetch ahead.
// Splitting the batch needs no barrier, but each worker then reads all weights at every step;
// splitting the hidden units lets each core keep its slice of the weights in its own cache, but at
// each step it waits for the others, and reads what they made from their caches. The constants are
// rounded from machines with AVX2 and AVX-512; a factor of two in any of them moves the border
// between two plans whose times differ little there. docs/scaling.md
constexpr double kWorkPerLane = 6;       // multiply-adds
constexpr double kCacheBytes = 150;      // from the core's own cache
constexpr double kMemoryBytes = 20;      // from beyond it
constexpr double kOthersBytes = 3;       // from another core's cache: 1.5 to 10, by where it is
constexpr double kHidden = 0.1;          // of the shorter of two things at the same time
constexpr double kBarrier = 300;         // all workers running
constexpr double kCrowdedBarrier = 1e5;  // some of them not: see crowded()
constexpr double kWakeTeam = 4000;
constexpr double kHandOver = 1.2;  // layers in step wait for each other's cache lines
// Below so many sequences U x for many steps at a time is worth its buffer: reading U sets the
// pace, from the core's own cache or from beyond it.
constexpr int64_t kFewRows = 16, kSomeRows = 64;

double cache_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return double(bytes);
#endif
  return 1 << 20;
}

double step_time(double work, double bytes, int lanes) {
  const double compute = work / (kWorkPerLane * lanes);
  const double read = bytes / (bytes <= cache_bytes() ? kCacheBytes : kMemoryBytes);
  return std::max(compute, read) + kHidden * std::min(compute, read);
}

}  // namespace

Plan make_plan(const Schedule& schedule, const LayerCost& cost, int threads) {
  const int64_t batch = schedule.batch;
  const double row_work = double(cost.row_work), bytes = row_work * double(cost.element);
  const auto ahead = [&](double read) {
    return cost.barriers == 0 || batch < (read > cache_bytes() ? kSomeRows : kFewRows);
  };
  const double times = double(schedule.times);
  const double rows = times > 0 ? double(schedule.rows()) / times : 0;  // at a step, on average

  Plan plan{1, true, ahead(bytes), times * step_time(row_work * rows, bytes, cost.lanes)};
  const int by_rows = int(std::min<int64_t>(threads, batch));
  if (by_rows > 1 && cost.barriers > 0) {
    const double time = kWakeTeam + times * step_time(row_work * rows / by_rows, bytes, cost.lanes);
    if (time < plan.nanoseconds) plan = {by_rows, true, false, time};
  }
  const int by_units = int(std::min<int64_t>(threads, cost.panels));
  if (by_units > 1) {
    const double share =
        double((cost.panels + by_units - 1) / by_units) / double(std::max<int64_t>(1, cost.panels));
    const double others = rows * double(cost.sent * cost.element) * (1 - share) / kOthersBytes;
    const double barriers = cost.barriers * (crowded() ? kCrowdedBarrier : kBarrier);
    const double wait = cost.barriers ? barriers + others : 0;
    const double time =
        kWakeTeam + times * (wait + step_time(row_work * rows * share, bytes * share, cost.lanes));
    if (time < plan.nanoseconds) plan = {by_units, false, ahead(bytes * share), time};
  }
  return plan;
}

std::vector<int64_t> work_of(const Plan& plan, const Schedule& schedule, const LayerCost& cost) {
  return plan.by_rows ? schedule.length : std::vector<int64_t>(size_t(cost.panels), 1);
}

bool in_step(const Plan& alone, const Plan& alone_above, const Plan& whole,
             const Plan& whole_above) {
  const double slower = std::max(alone.nanoseconds, alone_above.nanoseconds);
  return kWakeTeam + kHandOver * slower * (1 + 1.0 / kLag) <
         whole.nanoseconds + whole_above.nanoseconds;
}

bool side_by_side(const Plan& half, const Plan& whole) {
  return kWakeTeam + half.nanoseconds < 2 * whole.nanoseconds;
}

}  // namespace normrnn
