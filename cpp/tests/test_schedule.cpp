// Packed rows: every real step has one row, in the order that the time loop relies on.
#include "schedule.h"

#include "check.h"

namespace normrnn::test {
namespace {

void check_schedule(int64_t times, const std::vector<int64_t>& lengths, bool batch_first) {
  const int64_t batch = int64_t(lengths.size());
  const Schedule s = make_schedule(times, batch, lengths.data(), batch_first);
  int64_t total = 0;
  for (const int64_t length : lengths) total += length;
  CHECK(s.rows() == total);
  std::vector<int> seen(static_cast<size_t>(times * batch));
  for (int64_t t = 0; t < s.times; ++t) {
    CHECK(t == 0 || s.rows_at(t) <= s.rows_at(t - 1));
    for (int64_t r = 0; r < s.rows_at(t); ++r) {
      const int64_t b = s.order[r];
      CHECK(t < lengths[b] && s.length[r] == lengths[b]);
      const int64_t at = batch_first ? b * times + t : t * batch + b;
      CHECK(s.slot[s.offset[t] + r] == at);
      ++seen[at];
    }
  }
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < times; ++t) {
      CHECK(seen[batch_first ? b * times + t : t * batch + b] == (t < lengths[b]));
    }
  }
  for (const bool reverse : {false, true}) {
    std::vector<int64_t> previous = s.previous_rows(reverse);
    for (int64_t r = 0; r < batch; ++r) {  // walk each sequence back from its last state
      int64_t row = s.last_row(r, reverse);
      for (int64_t step = 0; step < s.length[r]; ++step) {
        CHECK(row >= batch);
        row = previous.empty() ? row - batch : previous[row - batch];
      }
      CHECK(row == r);
    }
  }
}

void tests() {
  for (const bool batch_first : {false, true}) {
    check_schedule(5, {5, 5, 5}, batch_first);
    check_schedule(5, {2, 5, 0, 3, 5, 1}, batch_first);
    check_schedule(4, {3, 3}, batch_first);
    check_schedule(3, {0, 0}, batch_first);
    check_schedule(1, {1}, batch_first);
  }
  const Schedule plain = make_schedule(4, 3, nullptr, false);
  CHECK(plain.slot.empty() && plain.rows() == 12 && plain.previous_rows(false).empty());
  // Rows past 2^31, where 32-bit places would be negative (pytorch#191924 was such a case).
  const Schedule large = make_schedule(70'000, 40'000, nullptr, false);
  CHECK(large.rows() == 2'800'000'000 && large.last_row(39'999, false) == 2'800'039'999);
  CHECK(make_schedule(0, 3, nullptr, false).rows() == 0);
  CHECK(make_schedule(4, 0, nullptr, false).rows() == 0);
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
