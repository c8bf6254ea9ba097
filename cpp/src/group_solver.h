// What a step in groups multiplies each group by, found from sums over the group.
//
// Where all weights of a group have the same step size a, its norm after the step says it all.
// Where each has its own, h_i (Adam), the prox of strength ||u|| is u_i = w_i root / (root +
// strength h_i), where root = ||u|| solves S(root) = sum (w_i / (root + strength h_i))^2 = 1, and
// is 0 if S(0) <= 1. 1 / sqrt(S) is concave and increasing, so Newton's method on 1 / sqrt(S) = 1
// comes to the root from below without passing it. It begins at ||w|| - strength h, with the mean h
// weighted by w^2: this is below the root, S being convex in h, and off by the square of a small
// shrinkage only. docs/equations.md#group-lasso
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/kernels.h"
#include "groups/group.h"

namespace normrnn {

// What passes sum up for each group.
struct GroupTotals {
  explicit GroupTotals(int64_t count)
      : before(size_t(count)), after(size_t(count)), first(size_t(count)), second(size_t(count)) {}

  cpu::GroupSums sums(bool uniform_step) {
    if (uniform_step) return {before.data(), after.data(), first.data(), second.data(), nullptr};
    return {before.data(), after.data(), nullptr, nullptr, first.data()};
  }

  void clear() {
    for (auto* sums : {&before, &after, &first, &second}) std::fill(sums->begin(), sums->end(), 0);
  }

  // Adds those of other groups, which are these from `at` on.
  void add(const GroupTotals& other, int64_t at) {
    for (size_t i = 0; i < other.before.size(); ++i) {
      before[size_t(at) + i] += other.before[i];
      after[size_t(at) + i] += other.after[i];
      first[size_t(at) + i] += other.first[i];
      second[size_t(at) + i] += other.second[i];
    }
  }

  std::vector<double> before, after;  // of w^2
  // Of cpu::GroupSums: change and cross, or weighted; then u^2 and u^2 / (root + strength h).
  std::vector<double> first, second;
};

inline bool all_finite(const std::vector<double>& squares) {
  return std::all_of(squares.begin(), squares.end(), [](double s) { return std::isfinite(s); });
}

// The groups [first, first + count) of an update at work. Memory of its own, so that stretches of
// rows can be solved side by side.
template <class T>
class GroupSolver {
 public:
  GroupSolver(const GroupKind& kind, const double* strength, int64_t count)
      : totals(count), kind_(kind), given_(strength), factor_(size_t(count), T(1)) {}

  GroupTotals totals;
  // Of (w kGroupScale)^2 before or after the step, where squares are not finite; else empty.
  std::vector<double> scaled_before, scaled_after;

  int64_t count() const { return int64_t(factor_.size()); }
  const T* factor() const { return factor_.data(); }
  const T* root() const { return root_.data(); }
  const T* strength() const { return strength_.data(); }

  // The penalty's value, from the weights before the step.
  double value() const {
    double sum = 0;
    for (int64_t i = 0; i < count(); ++i) sum += kind_.value(norm_before(i), given_[i]);
    return sum;
  }

  // What the weights are multiplied by for the penalty's gradient.
  void take_pull() {
    for (int64_t i = 0; i < count(); ++i) {
      factor_[size_t(i)] = held<T>(kind_.pull(norm_before(i), given_[i]));
    }
  }

  // The factor of each group after the step.
  void take_factor(double step) {
    for (int64_t i = 0; i < count(); ++i) {
      factor_[size_t(i)] = held<T>(kind_.factor(norm_after(i), given_[i], step));
    }
  }

  // The squares of what all of it changes the weights by, f (w + d) - w = f d + (f - 1) w, and of
  // the weights after it.
  void add_norms(cpu::UpdateSums& sums) const {
    for (size_t i = 0; i < factor_.size(); ++i) {
      const double f = factor_[i], less = f - 1;
      if (!std::isfinite(totals.after[i])) {
        sums.update_squares += totals.after[i];  // infinite or NaN
        const double size = f * norm_after(int64_t(i));
        sums.param_squares += size * size;
        continue;
      }
      double changed = f * f * totals.first[i];
      if (f > 2 && std::isfinite(totals.before[i])) {
        // The step has taken most of w away, and what is left is made large: the terms of the other
        // sum would be far larger than what they come to. Float32 leaves this an error of f 2^-24.
        const double along = totals.second[i] + totals.before[i];  // (w + d) w
        changed = f * f * totals.after[i] - 2 * f * along + totals.before[i];
      } else if (less != 0) {  // with a factor of 1 sums may be infinite
        changed += 2 * f * less * totals.second[i] + less * less * totals.before[i];
      }
      // Where the factor takes the step back, rounding is what is left.
      sums.update_squares += changed < 0 ? 0 : changed;
      sums.param_squares += f * f * totals.after[i];
    }
  }

  // Where Newton's method begins. A group without strength, or with one that is 0 in T, has root 1:
  // it stays as it is.
  void start() {
    strength_.assign(given_, given_ + count());
    root_.assign(factor_.size(), T(1));
    exact_.assign(factor_.size(), 0.0);
    for (int64_t i = 0; i < count(); ++i) {
      if (!(strength_[size_t(i)] > 0)) continue;
      const double size = norm_after(i);
      double shrinkage = given_[i] * totals.first[size_t(i)] / totals.after[size_t(i)];
      if (!std::isfinite(shrinkage)) shrinkage = 0;  // of zeros, or too large to be summed
      if (size > shrinkage) exact_[size_t(i)] = size - shrinkage;
      root_[size_t(i)] = T(exact_[size_t(i)]);
    }
    clear_rounds();
  }

  // One step of it, from the sums at the root so far. Returns whether all groups have arrived: by
  // what was left of S = 1, for next to a root near 0 the step itself is never small; a step leaves
  // the square of it.
  bool refine() {
    const double enough = std::sqrt(double(std::numeric_limits<T>::epsilon())) / 16;
    bool arrived = true;
    for (size_t i = 0; i < root_.size(); ++i) {
      if (!(strength_[i] > 0)) continue;
      const double s = totals.first[i], slope = totals.second[i], left = std::sqrt(s) - 1;
      double next = exact_[i];
      if (!std::isfinite(s)) {
        next = 1;  // a step size of 0 on the way: begin elsewhere
        arrived = false;
      } else if ((s > 1 || next > 0) && slope > 0) {  // not if all weights are 0
        next += left * s / slope;
        if (next <= 0) next = exact_[i] / 2;  // from beyond the root the step may go too far
        arrived = arrived && std::abs(left) <= enough;
      }
      exact_[i] = next;
      root_[i] = T(next);
    }
    clear_rounds();
    return arrived;
  }

 private:
  double norm_before(int64_t i) const { return norm(totals.before, scaled_before, size_t(i)); }
  double norm_after(int64_t i) const { return norm(totals.after, scaled_after, size_t(i)); }
  static double norm(const std::vector<double>& squares, const std::vector<double>& scaled,
                     size_t i) {
    return scaled.empty() ? std::sqrt(squares[i]) : norm_of(squares[i], scaled[i]);
  }
  void clear_rounds() {
    std::fill(totals.first.begin(), totals.first.end(), 0.0);
    std::fill(totals.second.begin(), totals.second.end(), 0.0);
  }

  const GroupKind& kind_;
  const double* given_;
  std::vector<T> factor_, root_, strength_;
  std::vector<double> exact_;
};

}  // namespace normrnn
