// What a step in groups multiplies each group by, found from sums over the group.
//
// Where all weights of a group have the same step size a, its norm after the step says it all. Where
// each has its own, h_i (Adam), the prox of strength ||u|| is u_i = w_i root / (root + strength h_i),
// where root = ||u|| solves S(root) = sum (w_i / (root + strength h_i))^2 = 1, and is 0 if S(0) <= 1.
// 1 / sqrt(S) is concave and increasing, so Newton's method on 1 / sqrt(S) = 1 goes from 0 to the root
// without passing it. docs/equations.md#group-lasso
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/kernels.h"
#include "groups/group.h"

namespace normrnn {

// The groups [first, first + count) of an update at work: the arrays that kernels read, and the sums
// that they make. Memory of its own, so that stretches of rows can be solved side by side.
template <class T>
class GroupSolver {
 public:
  GroupSolver(const GroupKind& kind, const double* strength, int64_t count)
      : kind_(kind),
        given_(strength),
        squares_(size_t(count)),
        over_(size_t(count)),
        before_(size_t(count)),
        root_(size_t(count)),
        strength_(size_t(count)),
        factor_(size_t(count)),
        exact_(size_t(count)) {
    for (int64_t i = 0; i < count; ++i) strength_[size_t(i)] = T(strength[i]);
  }

  int64_t count() const { return int64_t(squares_.size()); }
  double* squares() { return squares_.data(); }
  double* over() { return over_.data(); }
  double* before() { return before_.data(); }
  const T* factor() const { return factor_.data(); }
  const T* root() const { return root_.data(); }
  const T* strength() const { return strength_.data(); }

  void clear() {
    std::fill(squares_.begin(), squares_.end(), 0.0);
    std::fill(over_.begin(), over_.end(), 0.0);
    std::fill(before_.begin(), before_.end(), 0.0);
  }

  // Adds the sums of other groups, which are these groups from `first` on.
  void add(const GroupSolver& other, int64_t first) {
    for (size_t i = 0; i < other.squares_.size(); ++i) {
      squares_[size_t(first) + i] += other.squares_[i];
      over_[size_t(first) + i] += other.over_[i];
      before_[size_t(first) + i] += other.before_[i];
    }
  }

  // The penalty's value, from the weights before the step.
  double value() const {
    double sum = 0;
    for (size_t i = 0; i < before_.size(); ++i) {
      sum += kind_.value(std::sqrt(before_[i]), given_[i]);
    }
    return sum;
  }

  // From squares of the weights: what the weights are multiplied by for the penalty's gradient.
  void take_pull() {
    before_ = squares_;
    for (size_t i = 0; i < squares_.size(); ++i) {
      factor_[i] = T(kind_.pull(std::sqrt(squares_[i]), given_[i]));
    }
  }

  // From squares of the weights after the step: the factor of each group.
  void take_factor(double step) {
    for (size_t i = 0; i < squares_.size(); ++i) {
      factor_[i] = T(kind_.factor(std::sqrt(squares_[i]), given_[i], step));
    }
  }

  // Where Newton's method begins. A group without strength has root 1: it stays as it is.
  void start() {
    for (size_t i = 0; i < root_.size(); ++i) {
      exact_[i] = 0;
      root_[i] = strength_[i] > 0 ? T(0) : T(1);
    }
  }

  // One step of it, from the sums at the root so far. Returns whether all groups have arrived: by
  // what is left of S = 1, for next to a root near 0 the step itself is never small.
  bool refine() {
    bool arrived = true;
    for (size_t i = 0; i < root_.size(); ++i) {
      if (!(strength_[i] > 0)) continue;
      const double s = squares_[i], left = std::sqrt(s) - 1;
      double next = exact_[i];
      if (!std::isfinite(s)) {
        next = 1;  // a step size of 0 on the way: begin elsewhere
        arrived = false;
      } else if ((s > 1 || next > 0) && over_[i] > 0) {  // not if all weights are 0
        next += left * s / over_[i];
        if (next <= 0) next = exact_[i] / 2;  // from beyond the root the step may go too far
        arrived = arrived && std::abs(left) <= 4 * std::numeric_limits<T>::epsilon();
      }
      exact_[i] = next;
      root_[i] = T(next);
    }
    return arrived;
  }

 private:
  const GroupKind& kind_;
  const double* given_;
  std::vector<double> squares_, over_, before_;
  std::vector<T> root_, strength_, factor_;
  std::vector<double> exact_;
};

}  // namespace normrnn
