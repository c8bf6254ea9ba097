#include "schedule.h"

#include <algorithm>
#include <numeric>

namespace normrnn {

Schedule make_schedule(int64_t times, int64_t batch, const int64_t* lengths, bool batch_first) {
  Schedule s;
  s.batch = batch;
  s.order.resize(batch);
  std::iota(s.order.begin(), s.order.end(), 0);
  s.length.assign(batch, times);
  if (lengths) {
    std::stable_sort(s.order.begin(), s.order.end(),
                     [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    for (int64_t r = 0; r < batch; ++r) s.length[r] = lengths[s.order[r]];
  }
  s.times = batch ? s.length[0] : 0;
  s.offset.resize(s.times + 1);
  int64_t running = batch;
  for (int64_t t = 0; t < s.times; ++t) {
    while (running > 0 && s.length[running - 1] <= t) --running;
    s.offset[t + 1] = s.offset[t] + running;
  }
  const bool same_place = !lengths && (!batch_first || times <= 1 || batch <= 1);
  if (!same_place) {
    s.slot.resize(s.rows());
    for (int64_t t = 0; t < s.times; ++t) {
      for (int64_t r = 0; r < s.rows_at(t); ++r) {
        s.slot[s.offset[t] + r] = batch_first ? s.order[r] * times + t : t * batch + s.order[r];
      }
    }
  }
  return s;
}

int64_t Schedule::last_row(int64_t sequence, bool reverse) const {
  if (length[sequence] == 0) return sequence;
  return batch + (reverse ? 0 : offset[length[sequence] - 1]) + sequence;
}

std::vector<int64_t> Schedule::previous_rows(bool reverse) const {
  std::vector<int64_t> rows_before;
  if (!reverse && uniform()) return rows_before;
  rows_before.resize(rows());
  for (int64_t t = 0; t < times; ++t) {
    const int64_t before = reverse ? t + 1 : t - 1;
    const int64_t running = before < 0 || before >= times ? 0 : rows_at(before);
    for (int64_t r = 0; r < rows_at(t); ++r) {
      rows_before[offset[t] + r] = r < running ? batch + offset[before] + r : r;
    }
  }
  return rows_before;
}

}  // namespace normrnn
