#include "cpu/speeds.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>

#include "cpu/threads.h"

namespace normrnn {
namespace {

constexpr double kWeight = 0.1;  // of what is new: some calls are disturbed
constexpr double kLeast = 0.25, kMost = 4;
constexpr double kShortest = 1e5;  // nanoseconds; less says little
constexpr double kWorthIt = 0.97;  // of the time that even shares take

std::array<std::atomic<float>, kMaxThreads> known{};  // speeds less 1

double sum(const std::vector<int64_t>& work, int64_t begin, int64_t end) {
  return double(std::accumulate(work.begin() + begin, work.begin() + end, int64_t{0}));
}

// Where there is enough for all, nobody is left without an item: of such a worker no speed would be
// known any more.
std::vector<int64_t> in_proportion(const std::vector<int64_t>& work,
                                   const std::vector<double>& speeds) {
  std::vector<int64_t> begin(speeds.size() + 1, int64_t(work.size()));
  begin[0] = 0;
  const double total = sum(work, 0, int64_t(work.size()));
  const double all = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  double done = 0, wanted = 0;
  const bool enough = work.size() >= speeds.size();
  size_t i = 0;
  for (size_t w = 0; w + 1 < speeds.size(); ++w) {
    wanted += total * speeds[w] / all;
    const size_t least = enough ? i + 1 : i;
    const size_t most = enough ? work.size() - (speeds.size() - 1 - w) : work.size();
    for (; i < most && (i < least || done + double(work[i]) / 2 <= wanted); ++i) {
      done += double(work[i]);
    }
    begin[w + 1] = int64_t(i);
  }
  return begin;
}

double time_of(const std::vector<int64_t>& begin, const std::vector<int64_t>& work,
               const std::vector<double>& speeds) {
  double longest = 0;
  for (size_t w = 0; w < speeds.size(); ++w) {
    longest = std::max(longest, sum(work, begin[w], begin[w + 1]) / speeds[w]);
  }
  return longest;
}

}  // namespace

std::vector<double> worker_speeds(int workers) {
  std::vector<double> speeds(size_t(workers), 1.0);
  for (size_t w = 0; w < speeds.size(); ++w) {
    speeds[w] += double(known[w].load(std::memory_order_relaxed));
  }
  return speeds;
}

void note_speeds(const std::vector<double>& work, const std::vector<double>& nanoseconds) {
  double mean = 0;
  for (size_t w = 0; w < work.size(); ++w) {
    if (!(work[w] > 0) || nanoseconds[w] < kShortest) return;
    mean += work[w] / nanoseconds[w] / double(work.size());
  }
  for (size_t w = 0; w < work.size(); ++w) {
    const double speed = std::clamp(work[w] / nanoseconds[w] / mean, kLeast, kMost);
    const double before = double(known[w].load(std::memory_order_relaxed));
    known[w].store(float(before + kWeight * (speed - 1 - before)), std::memory_order_relaxed);
  }
}

std::vector<int64_t> shares_of(const std::vector<int64_t>& work,
                               const std::vector<double>& speeds) {
  std::vector<int64_t> even = in_proportion(work, std::vector<double>(speeds.size(), 1.0));
  std::vector<int64_t> by_speed = in_proportion(work, speeds);
  const bool better = time_of(by_speed, work, speeds) < kWorthIt * time_of(even, work, speeds);
  return better ? by_speed : even;
}

}  // namespace normrnn
