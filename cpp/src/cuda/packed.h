// A batch as packed rows (schedule.h), as kernels see it: sequences sorted longest first, steps one
// behind the other, no padding.
#pragma once

#include "cuda/queue.h"
#include "schedule.h"

namespace normrnn::device {

// Null arrays: all sequences have all steps, and lie in the caller's order.
struct Packed {
  int64_t times, batch;
  const int64_t* order;   // [batch]
  const int64_t* length;  // [batch]
  const int64_t* offset;  // [times + 1]
  const int64_t* slot;    // [rows] or null: see Schedule::slot

  NORMRNN_FN int64_t begin(int64_t t) const { return offset ? offset[t] : t * batch; }
  NORMRNN_FN int64_t rows_at(int64_t t) const { return offset ? offset[t + 1] - offset[t] : batch; }
  NORMRNN_FN int64_t order_of(int64_t r) const { return order ? order[r] : r; }
  NORMRNN_FN int64_t length_of(int64_t r) const { return length ? length[r] : times; }
  NORMRNN_FN int64_t slot_of(int64_t i) const { return slot ? slot[i] : i; }

  // Row q of times * batch: a packed row, or none.
  struct Place {
    int64_t t, r, row;
    bool exists;
  };
  NORMRNN_FN Place place(int64_t q) const {
    const int64_t t = q / batch, r = q % batch;
    return {t, r, begin(t) + r, r < rows_at(t)};
  }
};

struct PackedMemory {
  Schedule schedule;  // without slots
  Memory<int64_t> arrays, slot;
  Packed view;
};

// As make_schedule; lengths are in the host's memory.
template <class Queue>
PackedMemory make_packed(Queue& queue, int64_t times, int64_t batch, const int64_t* lengths,
                         bool batch_first) {
  bool ragged = false;
  for (int64_t b = 0; lengths && b < batch; ++b) ragged = ragged || lengths[b] != times;
  PackedMemory to;
  to.schedule = make_schedule(times, batch, ragged ? lengths : nullptr, false);
  to.schedule.slot.clear();
  const Schedule& s = to.schedule;
  to.view = {s.times, batch, nullptr, nullptr, nullptr, nullptr};
  if (ragged) {
    to.arrays = memory<int64_t>(queue, "schedule", 2 * batch + s.times + 1);
    int64_t* at = to.arrays.get();
    queue.upload(at, s.order.data(), batch);
    queue.upload(at + batch, s.length.data(), batch);
    queue.upload(at + 2 * batch, s.offset.data(), s.times + 1);
    to.view.order = at;
    to.view.length = at + batch;
    to.view.offset = at + 2 * batch;
  }
  if (ragged || (batch_first && times > 1 && batch > 1)) {
    to.slot = memory<int64_t>(queue, "slots", s.rows());
    int64_t* slot = to.slot.get();
    const Packed view = to.view;
    queue.each(
        "slots", s.times, batch, NORMRNN_LAMBDA(int64_t t, int64_t r) {
          if (r >= view.rows_at(t)) return;
          const int64_t b = view.order_of(r);
          slot[view.begin(t) + r] = batch_first ? b * times + t : t * batch + b;
        });
    to.view.slot = slot;
  }
  return to;
}

// Zeroes the rows of a caller's array [T*B, width] that no packed row stands for.
template <class T, class Queue>
void zero_padding(Queue& queue, const Packed& packed, int64_t times, bool batch_first,
                  int64_t width, T* rows) {
  if (!packed.length) return;
  queue.each(
      "zero padding", times * packed.batch, width, NORMRNN_LAMBDA(int64_t q, int64_t c) {
        const int64_t t = q / packed.batch, r = q % packed.batch, b = packed.order_of(r);
        if (t < packed.length_of(r)) return;
        rows[(batch_first ? b * times + t : t * packed.batch + b) * width + c] = T(0);
      });
}

// Steps in the order of the recursion, on the host: time t, its packed rows and how many.
struct Steps {
  const Schedule& schedule;
  bool reverse;
  int64_t time(int64_t step) const { return reverse ? schedule.times - 1 - step : step; }
  int64_t begin(int64_t step) const { return schedule.offset[size_t(time(step))]; }
  int64_t rows(int64_t step) const {
    if (step < 0 || step >= schedule.times) return 0;
    return schedule.rows_at(time(step));
  }
};

// The rows of one buffer of states: B initial ones and the packed ones, in such an order that where
// all sequences are equally long the state before packed row i is row i of `before()`. Or, where a
// step's states are needed for the next step only, the initial ones and two blocks used in turn.
struct StateRows {
  int64_t initial, first;  // first: of packed row 0
  int64_t kept;            // or not

  static StateRows of(bool keep, bool reverse, int64_t batch, int64_t rows) {
    if (keep && reverse) return {rows, 0, 1};
    return {0, batch, keep};
  }
  static int64_t count(bool keep, int64_t batch, int64_t rows) {
    return keep ? batch + rows : 3 * batch;
  }
  // First row of what a step writes; step -1 is the initial block.
  int64_t block(const Steps& steps, int64_t step) const {
    if (step < 0) return initial;
    return first + (kept ? steps.begin(step) : (step & 1) * steps.schedule.batch);
  }
  // Row of the state that sequence r ends with.
  NORMRNN_FN int64_t last(const Packed& packed, int64_t r, bool reverse) const {
    const int64_t length = packed.length_of(r);
    if (length == 0) return initial + r;
    if (kept) return first + (reverse ? 0 : packed.begin(length - 1)) + r;
    return first + ((reverse ? packed.times : length) - 1) % 2 * packed.batch + r;
  }
  // Row of the state before packed row (t, r).
  NORMRNN_FN int64_t previous(const Packed& packed, int64_t t, int64_t r, bool reverse) const {
    const int64_t before = reverse ? t + 1 : t - 1;
    if (before < 0 || before >= packed.times || r >= packed.rows_at(before)) return initial + r;
    return first + packed.begin(before) + r;
  }
  // Whether the state before packed row i is in row before() + i, for all i.
  bool shifted(const Packed& packed) const { return kept && !packed.offset; }
  int64_t before(const Packed& packed) const { return initial == 0 ? 0 : packed.batch; }
};

}  // namespace normrnn::device
