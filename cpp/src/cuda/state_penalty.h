// The state penalties of one direction of one layer on a device: what the time loop needs for them,
// their value, and what is left to do after the loop. docs/equations.md#state-penalties
#pragma once

#include <cmath>

#include "cuda/backward_step.h"
#include "cuda/reduce.h"

namespace normrnn::device {

struct Omega {
  double strength, floor;
  int64_t squared;
};

// Omega, after the loop. For a row with g = dL/dh_t, s = dL/drec_t and q = s W: its term, such as
// (||q|| / ||g|| - 1)^2, and h + coefficient q, which takes h's place in dL/dW = s^T h.
template <class T>
struct AddOmega {
  static constexpr int kLanes = 256, kPhases = 2, kSums = 2;
  using Totals = TotalsOf<AddOmega>;
  BackwardOp<T> op;
  Packed packed;
  const T* h;  // as the product with W reads it
  const Omega* omegas;
  int64_t count;
  double* values;  // [N]

  NORMRNN_FN Range items(int phase, int64_t q, int64_t) const {
    if (!packed.place(q).exists) return {0, 0};
    return {0, phase == 0 ? op.parts : op.hidden};
  }

  struct Factors {
    double outer, inner, value;
  };
  NORMRNN_FN Factors factors(const double* total) const {
    Factors to{0, total[1] > 0 ? 1 / sqrt(total[1]) : 0, 0};
    for (int64_t j = 0; j < count; ++j) {
      const Omega& one = omegas[j];
      if (total[0] < one.floor) continue;
      const double g = sqrt(total[0]), ratio = sqrt(total[1] / total[0]);
      const double term = (one.squared ? ratio * ratio : ratio) - 1;
      to.value += one.strength * term * term;
      to.outer += one.strength * 2 * term / g * (one.squared ? 2 * ratio : 1);
    }
    return to;
  }

  template <class Phase>
  NORMRNN_FN void item(Phase phase, int64_t q, int64_t, int64_t i, const Totals& totals,
                       double* sum) const {
    const Packed::Place at = packed.place(q);
    if constexpr (phase.value == 0) {
      const double* g = op.terms.clipped_parts ? op.terms.clipped_parts : op.norm_parts;
      sum[0] += g[at.row * op.parts + i];
      sum[1] += op.terms.product_parts[at.row * op.parts + i];
    } else {
      const Factors by = factors(totals[0]);
      T& product = op.terms.products[at.row * op.hidden + i];
      // Masked once more than in q, for the derivative. Two factors: the product of both may
      // overflow.
      const T sent = MaskRow<T>(op.masks.state, at.row, at.r)(product, i);
      const int64_t before = op.rows[0].previous(packed, at.t, at.r, op.reverse != 0);
      product = h[before * op.hidden + i] + T(by.outer) * (T(by.inner) * sent);
    }
  }
  NORMRNN_FN void finish(int64_t q, int64_t, const Totals& totals) const {
    const Packed::Place at = packed.place(q);
    if (at.exists) values[at.row] = factors(totals[0]).value;
  }
};

// All public: nvcc allows device lambdas in public member functions only.
template <class T, class Queue>
struct StatePenalties {
  // Sets op.terms; reads the states once, unless no penalty depends on them. Adds what is known of
  // the value to *value.
  void prepare(Queue& queue, const Tape<T>& tape, const BackwardCall<T>& call, int index,
               BackwardOp<T>& op, double* value) {
    packed = tape.packed.view;
    const int64_t rows = tape.packed.schedule.rows();
    std::vector<StatePenalty> of_states;
    if (!call.penalties.empty()) {
      for (const StatePenalty& one : call.penalties[size_t(index)]) {
        if (one.strength == 0) continue;
        if (one.kind == StatePenaltyKind::kOmega) {
          omegas.push_back({one.strength, one.floor, one.squared});
        } else {
          of_states.push_back(one);
        }
      }
    }
    if (!of_states.empty()) read_states(queue, tape, of_states, op, value);
    if (!omegas.empty()) {
      products = memory<T>(queue, "omega", rows, op.hidden);
      product_parts = memory<double>(queue, "omega", rows, op.parts);
      op.terms.products = products.get();
      op.terms.product_parts = product_parts.get();
      op.terms.any = true;
    }
    op.terms.clip = T(call.clip_state);
    if (std::isfinite(call.clip_state)) {
      clipped_parts = memory<double>(queue, "clipped norms", rows, op.parts);
      op.terms.clipped_parts = clipped_parts.get();
      op.terms.any = true;
    }
  }

  void read_states(Queue& queue, const Tape<T>& tape, const std::vector<StatePenalty>& penalties,
                   BackwardOp<T>& op, double* value) {
    const Schedule& schedule = tape.packed.schedule;
    const int64_t rows = schedule.rows(), sequences = schedule.times ? schedule.rows_at(0) : 0;
    const double elements = double(rows * op.hidden);
    const double pairs = double((rows - sequences) * op.hidden);
    const auto over = [](double sum, double count) { return count > 0 ? sum / count : 0; };
    double l1 = 0, l2 = 0, tar = 0, stabilizer = 0;  // of the value
    for (const StatePenalty& one : penalties) {
      switch (one.kind) {
        case StatePenaltyKind::kActivityL1:
          l1 += one.strength;
          break;
        case StatePenaltyKind::kActivityL2:
          l2 += one.strength;
          break;
        case StatePenaltyKind::kAr:
          l2 += over(one.strength, elements);
          break;
        case StatePenaltyKind::kTar:
          tar += over(one.strength, pairs);
          break;
        case StatePenaltyKind::kNormStabilizer:
          stabilizer += one.strength;
          break;
        case StatePenaltyKind::kOmega:  // not a function of the states alone
          break;
      }
    }
    op.terms.l1 = T(l1);
    op.terms.l2 = T(2 * l2);
    op.terms.tar = T(2 * tar);
    op.terms.any = true;
    sum_states(queue, rows, op, l1, l2, tar, value);
    if (stabilizer != 0) stabilize(queue, rows, op, over(stabilizer, double(sequences)), value);
  }

  // Sums over each row of h, kept for the stabilizer, and of all of them.
  void sum_states(Queue& queue, int64_t rows, const BackwardOp<T>& op, double l1, double l2,
                  double tar, double* value) {
    sums = memory<double>(queue, "state sums", packed.batch + rows, 3);
    double* of_row = sums.get();
    const Packed at = packed;
    const int64_t steps = at.times * at.batch;
    // Row q of the steps' and then the initial states' rows, as a row of states; -1: none.
    const auto row_of = NORMRNN_LAMBDA(int64_t q)->int64_t {
      if (q >= steps) return op.rows[0].initial + q - steps;
      const Packed::Place place = at.place(q);
      return place.exists ? op.rows[0].first + place.row : -1;
    };
    row_sums<3>(
        queue, "state sums", steps + at.batch,
        NORMRNN_LAMBDA(int64_t q)->int64_t { return row_of(q) < 0 ? 0 : op.hidden; },
        NORMRNN_LAMBDA(int64_t q, int64_t u, double* sum) {
          const T h = op.state[0][row_of(q) * op.hidden + u];
          sum[0] += double(abs(h));
          sum[1] += double(h) * double(h);
          if (q >= steps) return;
          const int64_t t = q / at.batch, r = q % at.batch;
          const int64_t before = op.rows[0].previous(at, t, r, op.reverse != 0);
          if (before == op.rows[0].initial + r) return;
          const double step = double(h - op.state[0][before * op.hidden + u]);
          sum[2] += step * step;
        },
        NORMRNN_LAMBDA(int64_t q, const double* sum) {
          const int64_t row = row_of(q);
          for (int s = 0; row >= 0 && s < 3; ++s) of_row[3 * row + s] = sum[s];
        });
    const int64_t first = op.rows[0].first;
    row_sums<3>(
        queue, "state penalty", 1, NORMRNN_LAMBDA(int64_t)->int64_t { return rows; },
        NORMRNN_LAMBDA(int64_t, int64_t i, double* sum) {
          for (int s = 0; s < 3; ++s) sum[s] += of_row[3 * (first + i) + s];
        },
        NORMRNN_LAMBDA(int64_t, const double* sum) {
          *value += l1 * sum[0] + l2 * sum[1] + tar * sum[2];
        });
  }

  // With d_t = ||h_t|| - ||h_{t-1}||, every d_t pulls at h_t one way and at h_{t-1} the other.
  void stabilize(Queue& queue, int64_t rows, BackwardOp<T>& op, double scale, double* value) {
    scales = memory<T>(queue, "norm stabilizer", packed.batch + rows);
    T* row_scale = scales.get();
    initial_scale = row_scale + rows;  // [B]
    const Packed at = packed;
    const double* of_row = sums.get();
    const StateRows states = op.rows[0];
    const bool reverse = op.reverse != 0;
    const auto norm = NORMRNN_LAMBDA(int64_t row)->double { return sqrt(of_row[3 * row + 1]); };
    // Of h: the norm has no derivative at 0.
    const auto factor = NORMRNN_LAMBDA(double own, double pull)->T {
      return own == 0 ? T(0) : T(2 * scale * pull / own);
    };
    T* const initial = row_scale + rows;
    queue.each(
        "norm stabilizer", at.times + 1, at.batch, NORMRNN_LAMBDA(int64_t t, int64_t r) {
          const double steps = double(at.length_of(r));
          const bool starts = t == at.times;  // the initial states come last
          if (!starts && r >= at.rows_at(t)) return;
          const int64_t after = starts    ? (reverse ? int64_t(steps) - 1 : 0)
                                : reverse ? t - 1
                                          : t + 1;
          const int64_t own_row = starts ? states.initial + r : states.first + at.begin(t) + r;
          const double own = norm(own_row);
          double pull = 0;
          if (!starts) pull += (own - norm(states.previous(at, t, r, reverse))) / steps;
          if (after >= 0 && after < at.length_of(r)) {
            pull -= (norm(states.first + at.begin(after) + r) - own) / steps;
          }
          if (starts) {
            initial[r] = factor(own, pull);
          } else {
            row_scale[at.begin(t) + r] = factor(own, pull);
          }
        });
    row_sums<1>(
        queue, "norm stabilizer", 1,
        NORMRNN_LAMBDA(int64_t)->int64_t { return at.times * at.batch; },
        NORMRNN_LAMBDA(int64_t, int64_t q, double* sum) {
          const Packed::Place place = at.place(q);
          if (!place.exists) return;
          const double d =
              norm(states.first + place.row) - norm(states.previous(at, place.t, place.r, reverse));
          sum[0] += d * d / double(at.length_of(place.r));
        },
        NORMRNN_LAMBDA(int64_t, const double* sum) { *value += scale * sum[0]; });
    op.terms.row_scale = row_scale;
  }

  // After the loop: the part of dL/dh_0 that comes from the penalties themselves, and Omega.
  void finish(Queue& queue, const Tape<T>& tape, int index, const BackwardOp<T>& op,
              double* value) {
    if (const T* scale = initial_scale) {
      queue.each(
          "norm stabilizer", packed.batch, op.hidden, NORMRNN_LAMBDA(int64_t r, int64_t u) {
            if (scale[r] == 0) return;
            op.d_state[0][r * op.hidden + u] +=
                scale[r] * op.state[0][(op.rows[0].initial + r) * op.hidden + u];
          });
    }
    if (omegas.empty()) return;
    const int64_t rows = tape.packed.schedule.rows();
    const LayerTape<T>& own = tape.layers[size_t(index)];
    Memory<double> values = memory<double>(queue, "omega", rows);
    Memory<Omega> uploaded = memory<Omega>(queue, "omega", int64_t(omegas.size()));
    queue.upload(uploaded.get(), omegas.data(), int64_t(omegas.size()));
    queue.groups("omega", packed.times * packed.batch, 1,
                 AddOmega<T>{op, packed, own.masked_h.get() ? own.masked_h.get() : op.state[0],
                             uploaded.get(), int64_t(omegas.size()), values.get()});
    const double* of_row = values.get();
    row_sums<1>(
        queue, "omega", 1, NORMRNN_LAMBDA(int64_t)->int64_t { return rows; },
        NORMRNN_LAMBDA(int64_t, int64_t i, double* sum) { sum[0] += of_row[i]; },
        NORMRNN_LAMBDA(int64_t, const double* sum) { *value += sum[0]; });
  }

  Packed packed{};
  std::vector<Omega> omegas;
  Memory<double> sums, product_parts, clipped_parts;
  Memory<T> products, scales;
  const T* initial_scale = nullptr;  // [B] or null
};

}  // namespace normrnn::device
