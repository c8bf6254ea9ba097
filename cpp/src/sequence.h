// Shared by the forward and the backward driver of a stack of layers.
#pragma once

#include <chrono>
#include <cstring>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/speeds.h"
#include "plan.h"
#include "tape.h"

namespace normrnn {

constexpr int64_t panels_of(int64_t units, int64_t width) { return (units + width - 1) / width; }

// Whether two layers of a cell can run in step.
template <class T>
bool keeps_pace(const cpu::CellKernels<T>& cell) {
  return !cell.layer_norm && !cell.diagonal;
}

// Sorted rows of a caller's state array <-> rows of a buffer with row stride ld.
template <class T>
void gather_rows(const T* from, const Schedule& schedule, int64_t width, T* to, int64_t ld) {
  for (int64_t r = 0; r < schedule.batch; ++r) {
    T* row = to + r * ld;
    int64_t filled = 0;
    if (from) {
      std::memcpy(row, from + schedule.order[r] * width, size_t(width) * sizeof(T));
      filled = width;
    }
    std::memset(static_cast<void*>(row + filled), 0, size_t(ld - filled) * sizeof(T));
  }
}

// Runs f(op, worker) for two ops at the same time, `workers` on each.
template <class Op, class F>
void run_both(int workers, const Op& first, const Op& second, F&& f) {
  run_parallel(2 * workers, [&](Worker& worker) {
    if (worker.size() == 1) {  // the pool was busy
      f(first, worker);
      f(second, worker);
    } else {
      Worker part = worker.part(2);
      f(part.group() == 0 ? first : second, part);
    }
  });
}

// Runs f(worker), and notes how fast the workers are that got these shares of some work.
template <class F>
void run_measured(const std::vector<int64_t>& work, const std::vector<int64_t>& begin, F&& f) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> done(begin.size() - 1), nanoseconds(done.size());
  run_parallel(int(done.size()), [&](Worker& worker) {
    const auto start = Clock::now();
    f(worker);
    const std::chrono::duration<double, std::nano> taken = Clock::now() - start;
    const size_t rank = size_t(worker.rank());
    nanoseconds[rank] = taken.count() - worker.waited();
    for (int64_t i = begin[rank]; i < begin[rank + 1]; ++i) done[rank] += double(work[size_t(i)]);
  });
  note_speeds(done, nanoseconds);
}

// Runs f(op, worker) for the one or two directions of a layer, one after the other or, where that
// is expected to be faster, at the same time. take(op, plan, shares) makes an op ready.
template <class Op, class Take, class F>
void run_directions(const Schedule& schedule, const LayerCost& cost, int threads, Op* op,
                    int directions, Take&& take, F&& f) {
  const Plan whole = make_plan(schedule, cost, threads);
  if (directions == 2 && threads > 1) {
    const Plan half = make_plan(schedule, cost, threads / 2);
    if (side_by_side(half, whole)) {
      const std::vector<double> alike(size_t(half.workers), 1.0);
      const std::vector<int64_t> begin = shares_of(work_of(half, schedule, cost), alike);
      for (int d = 0; d < 2; ++d) take(op[d], half, cpu::Shares{begin.data(), half.by_rows});
      return run_both(half.workers, op[0], op[1], f);
    }
  }
  for (int d = 0; d < directions; ++d) {
    auto run = [&](Worker& worker) { f(op[d], worker); };
    if (whole.workers == 1) {
      take(op[d], whole, cpu::Shares{});
      run_parallel(1, run);
      continue;
    }
    const std::vector<int64_t> work = work_of(whole, schedule, cost);
    const std::vector<int64_t> begin = shares_of(work, worker_speeds(whole.workers));
    take(op[d], whole, cpu::Shares{begin.data(), whole.by_rows});
    run_measured(work, begin, run);
  }
}

// Zeroes the rows of a caller's array [T*B, width] that no packed row stands for.
template <class T>
void zero_padding(const Tape<T>& tape, T* rows, int64_t width) {
  const Schedule& s = tape.schedule;
  const int64_t times = tape.shape.times, batch = s.batch;
  for (int64_t r = 0; r < batch; ++r) {
    for (int64_t t = s.length[r]; t < times; ++t) {
      const int64_t at = tape.batch_first ? s.order[r] * times + t : t * batch + s.order[r];
      std::memset(static_cast<void*>(rows + at * width), 0, size_t(width) * sizeof(T));
    }
  }
}

}  // namespace normrnn
