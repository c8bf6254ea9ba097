#include "state_penalty.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/dispatch.h"

namespace normrnn {
namespace {

double over(double sum, int64_t count) { return count ? sum / double(count) : 0; }

}  // namespace

template <class T>
StatePenalties<T>::StatePenalties(const Tape<T>& tape, const BackwardCall<T>& call, int index,
                                  int64_t panels)
    : tape_(&tape),
      h_(tape.layers[size_t(index)].state[0].get()),
      own_(&tape.layers[size_t(index)]),
      threads_(call.threads),
      panels_(panels) {
  const int64_t rows = tape.schedule.rows();
  std::vector<StatePenalty> of_states;
  if (!call.penalties.empty()) {
    for (const StatePenalty& one : call.penalties[size_t(index)]) {
      if (one.strength == 0) continue;
      (one.kind == StatePenaltyKind::kOmega ? omegas_ : of_states).push_back(one);
    }
  }
  if (!of_states.empty() || !omegas_.empty()) {
    previous_ = tape.schedule.previous_rows(index % tape.shape.directions == 1);
    if (previous_.empty()) {
      previous_.resize(size_t(rows));
      std::iota(previous_.begin(), previous_.end(), 0);
    }
  }
  if (!of_states.empty()) read_states(of_states);
  if (!omegas_.empty()) {
    products_ = Buffer<T>(product(rows, tape.state_ld));
    product_parts_ = Buffer<double>(product(rows, panels));
    terms_.products = products_.get();
    terms_.product_parts = product_parts_.get();
  }
  terms_.clip = T(call.clip_state);
  if (std::isfinite(call.clip_state)) {
    clipped_parts_ = Buffer<double>(product(rows, panels));
    terms_.clipped_parts = clipped_parts_.get();
    terms_.any = true;
  }
}

template <class T>
void StatePenalties<T>::read_states(const std::vector<StatePenalty>& penalties) {
  const Schedule& schedule = tape_->schedule;
  const int64_t batch = schedule.batch, rows = schedule.rows(), hidden = tape_->shape.hidden;
  const int64_t ld = tape_->state_ld, sequences = schedule.times ? schedule.rows_at(0) : 0;
  const cpu::Kernels<T>& kernel = kernels<T>();

  std::vector<cpu::StateSums> of_row(size_t(batch + rows));
  parallel_rows(threads_, batch + rows, hidden, [&](int64_t i) {
    const int64_t before = i < batch ? 0 : previous_[size_t(i - batch)];
    of_row[size_t(i)] =
        kernel.state_sums(h_ + i * ld, before < batch ? nullptr : h_ + before * ld, hidden);
  });
  cpu::StateSums sums{};
  std::vector<double> squares;
  for (int64_t i = 0; i < batch + rows; ++i) {
    const cpu::StateSums& one = of_row[size_t(i)];
    squares.push_back(one.squares);
    if (i < batch) continue;
    sums.absolutes += one.absolutes;
    sums.squares += one.squares;
    sums.steps += one.steps;
  }

  const int64_t elements = rows * hidden, pairs = (rows - sequences) * hidden;
  double l1 = 0, l2 = 0, tar = 0, stabilizer = 0;
  for (const StatePenalty& one : penalties) {
    switch (one.kind) {
      case StatePenaltyKind::kActivityL1:
        l1 += one.strength;
        value_ += one.strength * sums.absolutes;
        break;
      case StatePenaltyKind::kActivityL2:
        l2 += 2 * one.strength;
        value_ += one.strength * sums.squares;
        break;
      case StatePenaltyKind::kAr:
        l2 += over(2 * one.strength, elements);
        value_ += one.strength * over(sums.squares, elements);
        break;
      case StatePenaltyKind::kTar:
        tar += over(2 * one.strength, pairs);
        value_ += one.strength * over(sums.steps, pairs);
        break;
      case StatePenaltyKind::kNormStabilizer:
        stabilizer += one.strength;
        break;
      case StatePenaltyKind::kOmega:  // not a function of the states alone
        break;
    }
  }
  terms_.l1 = T(l1);
  terms_.l2 = T(l2);
  terms_.tar = T(tar);
  terms_.any = true;
  if (stabilizer != 0) stabilize(stabilizer, squares);
}

// With d_t = ||h_t|| - ||h_{t-1}||, every d_t pulls at h_t one way and at h_{t-1} the other.
template <class T>
void StatePenalties<T>::stabilize(double strength, const std::vector<double>& squares) {
  const Schedule& schedule = tape_->schedule;
  const int64_t batch = schedule.batch;
  std::vector<double> norm(squares.size()), pull(squares.size(), 0.0);
  for (size_t i = 0; i < squares.size(); ++i) norm[i] = std::sqrt(squares[i]);
  double sum = 0;
  for (int64_t t = 0; t < schedule.times; ++t) {
    for (int64_t i = schedule.offset[t]; i < schedule.offset[t + 1]; ++i) {
      const size_t own = size_t(batch + i), before = size_t(previous_[size_t(i)]);
      const double steps = double(schedule.length[size_t(i - schedule.offset[t])]);
      const double d = norm[own] - norm[before];
      sum += d * d / steps;
      pull[own] += d / steps;
      pull[before] -= d / steps;
    }
  }
  const int64_t sequences = schedule.times ? schedule.rows_at(0) : 0;
  const double scale = over(strength, sequences);
  value_ += scale * sum;
  const auto factor = [&](size_t i) {  // of h: the norm has no derivative at 0
    return norm[i] == 0 ? T(0) : T(2 * scale * pull[i] / norm[i]);
  };
  for (size_t i = 0; i < squares.size(); ++i) {
    (int64_t(i) < batch ? initial_scale_ : row_scale_).push_back(factor(i));
  }
  terms_.row_scale = row_scale_.data();
}

template <class T>
void StatePenalties<T>::finish(const double* norm_parts, T* d_initial) {
  const int64_t ld = tape_->state_ld;
  for (size_t r = 0; r < initial_scale_.size(); ++r) {
    const int64_t row = int64_t(r) * ld;
    if (initial_scale_[r] == 0) continue;
    for (int64_t j = 0; j < tape_->shape.hidden; ++j) {
      d_initial[row + j] += initial_scale_[r] * h_[row + j];
    }
  }
  if (!omegas_.empty()) add_omega(terms_.clipped_parts ? terms_.clipped_parts : norm_parts);
}

// Of a row with g = dL/dh_t, s = dL/drec_t, q = s W: the term (||q|| / ||g|| - 1)^2, and its
// derivative in W, a multiple of s^T q, with g and s held constant.
template <class T>
void StatePenalties<T>::add_omega(const double* norm_parts) {
  const int64_t rows = tape_->schedule.rows(), ld = tape_->state_ld, hidden = tape_->shape.hidden;
  const cpu::Kernels<T>& kernel = kernels<T>();
  std::vector<double> values(static_cast<size_t>(rows), 0.0);
  const cpu::Mask<T>& mask = own_->masks.view.state;
  const T* h = mask.bits ? own_->masked_h.get() : h_;  // as the product with W reads it
  parallel_rows(threads_, rows, hidden, [&](int64_t i) {
    double g_squares = 0, q_squares = 0;
    for (int64_t p = i * panels_; p < (i + 1) * panels_; ++p) {
      g_squares += norm_parts[p];
      q_squares += product_parts_.get()[p];
    }
    double outer = 0;  // of q / ||q||
    for (const StatePenalty& one : omegas_) {
      if (g_squares < one.floor) continue;
      const double g = std::sqrt(g_squares), ratio = std::sqrt(q_squares / g_squares);
      const double term = (one.squared ? ratio * ratio : ratio) - 1;
      values[size_t(i)] += one.strength * term * term;
      outer += one.strength * 2 * term / g * (one.squared ? 2 * ratio : 1);
    }
    const double inner = q_squares > 0 ? 1 / std::sqrt(q_squares) : 0;
    if (mask.bits) {  // once more than in q, for the derivative
      const auto& offset = tape_->schedule.offset;
      const auto above = std::upper_bound(offset.begin(), offset.end(), i);
      T* row = products_.get() + i * ld;
      kernel.mask_row(mask, i, i - *(above - 1), hidden, row, row);
    }
    kernel.add_product(h + previous_[size_t(i)] * ld, T(outer), T(inner), hidden,
                       products_.get() + i * ld);
  });
  for (const double value : values) value_ += value;
}

template class StatePenalties<float>;
template class StatePenalties<double>;

}  // namespace normrnn
