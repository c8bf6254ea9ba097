// Shares of work: all of it, in order, in proportion to speeds; and speeds that follow what is noted.
#include "cpu/speeds.h"

#include <algorithm>
#include <numeric>

#include "check.h"

namespace normrnn::test {
namespace {

double longest(const std::vector<int64_t>& begin, const std::vector<int64_t>& work,
               const std::vector<double>& speeds) {
  double time = 0;
  for (size_t w = 0; w < speeds.size(); ++w) {
    const auto from = work.begin() + begin[w], to = work.begin() + begin[w + 1];
    time = std::max(time, double(std::accumulate(from, to, int64_t{0})) / speeds[w]);
  }
  return time;
}

void check_shares(const std::vector<int64_t>& work, const std::vector<double>& speeds) {
  const std::vector<int64_t> begin = shares_of(work, speeds);
  CHECK(begin.size() == speeds.size() + 1);
  CHECK(begin.front() == 0 && begin.back() == int64_t(work.size()));
  for (size_t w = 0; w < speeds.size(); ++w) CHECK(begin[w] <= begin[w + 1]);
  const std::vector<double> alike(speeds.size(), 1.0);
  CHECK(longest(begin, work, speeds) <= longest(shares_of(work, alike), work, speeds));
}

void note(int64_t rounds, double first, double second) {
  for (int64_t i = 0; i < rounds; ++i) note_speeds({first * 1e6, second * 1e6}, {1e6, 1e6});
}

void tests() {
  for (const std::vector<double>& speeds : std::vector<std::vector<double>>{
           {1}, {1, 1}, {1.2, 0.8}, {0.5, 1.5}, {1, 0.25, 1, 1.75}, std::vector<double>(7, 1.0)}) {
    check_shares({}, speeds);
    check_shares({5}, speeds);
    check_shares({0, 0, 0}, speeds);
    check_shares({9, 9, 7, 4, 4, 1, 0, 0}, speeds);
    check_shares(std::vector<int64_t>(64, 100), speeds);
  }
  const std::vector<int64_t> alike(64, 100);
  CHECK((shares_of(alike, {1, 1}) == std::vector<int64_t>{0, 32, 64}));
  CHECK((shares_of(alike, {1.25, 0.75}) == std::vector<int64_t>{0, 40, 64}));
  CHECK((shares_of(alike, {1.02, 0.98}) == std::vector<int64_t>{0, 32, 64}));  // hardly better
  CHECK((shares_of({1, 1, 1, 1}, {1.2, 0.8}) == std::vector<int64_t>{0, 2, 4}));
  // However slow, a worker has work, or its speed would not be known any more.
  const std::vector<int64_t> begin = shares_of(std::vector<int64_t>(8, 1), {1, 4, 1, 1, 0.25, 1});
  for (size_t w = 0; w + 1 < begin.size(); ++w) CHECK(begin[w] < begin[w + 1]);

  CHECK((worker_speeds(2) == std::vector<double>{1, 1}));
  note(100, 3, 2);
  check_close(worker_speeds(2)[0], 1.2, 1e-3, "speed of the first");
  check_close(worker_speeds(2)[1], 0.8, 1e-3, "speed of the second");
  note(1, 1, 9);  // one disturbed call is not believed at once
  CHECK(worker_speeds(2)[0] > worker_speeds(2)[1]);
  note(100, 1, 1e-6);
  for (const double speed : worker_speeds(2)) CHECK(speed >= 0.25 && speed <= 4);
  const std::vector<double> before = worker_speeds(2);
  note_speeds({1e6, 1e6}, {1e3, 9e3});  // too short to tell
  note_speeds({1e6, 0}, {1e6, 1e6});    // without work
  CHECK(worker_speeds(2) == before);
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
