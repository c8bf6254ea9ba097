// How the work of one direction of one layer is shared out among workers: the cost model.
#pragma once

#include <cstdint>
#include <vector>

#include "schedule.h"

namespace normrnn {

// What the model needs to know.
struct LayerCost {
  int64_t panels;    // of hidden units, the least that can be given to a worker
  int64_t row_work;  // multiply-adds of one row of a step
  int64_t sent;      // numbers of a row that all workers read at each step
  int64_t element;   // bytes of a weight
  int lanes;         // of a vector
  int barriers;      // at each step where hidden units are split; none: they do not feel each other
};

struct Plan {
  int workers;
  bool by_rows;        // whether the batch is shared out, or the panels of hidden units
  bool input_ahead;    // U x for many steps at a time, before them
  double nanoseconds;  // what the model expects
};

Plan make_plan(const Schedule& schedule, const LayerCost& cost, int threads);

// What there is to do in each row, or each panel: of this workers get their shares.
std::vector<int64_t> work_of(const Plan& plan, const Schedule& schedule, const LayerCost& cost);

// Whether two neighbouring layers at the same time, each on one worker as in its `alone`, beat one
// after the other with all threads.
bool in_step(const Plan& alone, const Plan& alone_above, const Plan& whole,
             const Plan& whole_above);
constexpr int64_t kLag = 8;  // the later of two layers in step is about 1/kLag of a sequence behind

// Whether both directions side by side, with half of the threads each as in `half`, beat one after
// the other with all threads as in `whole`.
bool side_by_side(const Plan& half, const Plan& whole);

}  // namespace normrnn
