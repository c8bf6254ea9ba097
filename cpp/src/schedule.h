// A batch as packed rows: sequences sorted longest first, steps one behind the other, no padding.
#pragma once

#include <cstdint>
#include <vector>

namespace normrnn {

struct Schedule {
  int64_t times;                // steps of the longest sequence
  int64_t batch;                // sequences, those of length 0 included
  std::vector<int64_t> order;   // [batch] place in the batch of each sorted sequence
  std::vector<int64_t> length;  // [batch] sorted, longest first
  std::vector<int64_t> offset;  // [times + 1] first packed row of each step
  // [rows] place of each packed row among the T*B rows of the caller's arrays; empty: its own
  std::vector<int64_t> slot;

  int64_t rows() const { return offset.back(); }
  int64_t rows_at(int64_t time) const { return offset[time + 1] - offset[time]; }
  const int64_t* slots() const { return slot.empty() ? nullptr : slot.data(); }
  bool uniform() const { return rows() == times * batch; }

  // Rows of a state buffer (initial block of `batch` rows, then the packed rows):
  // the state that a sequence ends with, and for each packed row the state before it.
  int64_t last_row(int64_t sequence, bool reverse) const;
  std::vector<int64_t> previous_rows(bool reverse) const;  // empty: packed row i for row i
};

// times: T of the caller's arrays; lengths [batch] or null for all T.
Schedule make_schedule(int64_t times, int64_t batch, const int64_t* lengths, bool batch_first);

}  // namespace normrnn
