// The state penalties of one direction of one layer: what the time loop needs for them, their
// value, and what is left to do after the loop. docs/equations.md#state-penalties
#pragma once

#include "tape.h"

namespace normrnn {

template <class T>
class StatePenalties {
 public:
  StatePenalties() = default;
  // Reads the states once, unless no penalty depends on them. panels: of units in the time loop.
  StatePenalties(const Tape<T>& tape, const BackwardCall<T>& call, int index, int64_t panels);

  const cpu::StateTerms<T>& terms() const { return terms_; }

  // After the loop: the part of dL/dh_0 that comes from the penalties themselves, added to the
  // sorted rows d_initial [B, state_ld]; and the kept products become Omega's operand of W's
  // gradient, h_{t-1} + coefficient * product, as dropout of the state leaves both. norm_parts:
  // LayerBackward's.
  void finish(const double* norm_parts, T* d_initial);

  double value() const { return value_; }  // complete after finish

 private:
  void read_states(const std::vector<StatePenalty>& penalties);
  void stabilize(double strength, const std::vector<double>& squares);
  void add_omega(const double* norm_parts);

  const Tape<T>* tape_ = nullptr;
  const T* h_ = nullptr;  // [B + N, state_ld]
  const LayerTape<T>* own_ = nullptr;
  int threads_ = 1;
  int64_t panels_ = 0;
  std::vector<int64_t> previous_;  // row of h before each packed row
  std::vector<StatePenalty> omegas_;
  std::vector<T> row_scale_, initial_scale_;  // [N] and [B], or empty
  Buffer<double> clipped_parts_, product_parts_;
  Buffer<T> products_;
  cpu::StateTerms<T> terms_{};
  double value_ = 0;
};

}  // namespace normrnn
