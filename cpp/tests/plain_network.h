// One direction of one layer in plain loops and float64, forwards and backwards, as
// docs/equations.md has it: what the simulated blocks are checked against. Nothing here is shared
// with them.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace normrnn::test {

enum class Kind { kElman, kGru, kLstm };

struct PlainNetwork {
  Kind kind;
  int64_t times, batch, hidden;
  int gates, tape_values;
  std::vector<double> w;               // weight_hh [G*H, H]
  std::vector<double> ux, b_hh;        // U x + b_ih [T, B, G*H]; [G*H]
  std::vector<double> dy, dh_n, dc_n;  // [T, B, H], [B, H], [B, H]
  std::vector<double> h, c;            // [T + 1, B, H], the initial ones first
  std::vector<double> tape;            // [T, B, tape_values, H]: LSTM i f g o, GRU r z n rec_n
  std::vector<double> d_pre, d_rec;    // [T, B, G*H]
  std::vector<double> dh_0, dc_0;      // [B, H]

  PlainNetwork(Kind of, int64_t t, int64_t b, int64_t units, std::mt19937_64& rng)
      : kind(of), times(t), batch(b), hidden(units) {
    gates = kind == Kind::kLstm ? 4 : kind == Kind::kGru ? 3 : 1;
    tape_values = kind == Kind::kElman ? 0 : 4;
    std::normal_distribution<double> normal(0, 0.5);
    const auto fill = [&](std::vector<double>& x, int64_t count, double scale) {
      x.resize(size_t(count));
      for (double& value : x) value = scale * normal(rng);
    };
    const int64_t bh = batch * hidden;
    fill(w, gates * hidden * hidden, 3 / std::sqrt(double(hidden)));
    fill(ux, times * bh * gates, 1);
    fill(b_hh, gates * hidden, 1);
    fill(dy, times * bh, 1);
    fill(dh_n, bh, 1);
    fill(dc_n, bh, 1);
    fill(h, (times + 1) * bh, 1);
    fill(c, (times + 1) * bh, 1);
    tape.resize(size_t(times * bh * tape_values));
    d_pre.resize(size_t(times * bh * gates));
    d_rec = d_pre;
    for (int64_t step = 0; step < times; ++step) forward(step);
    dh_0 = dh_n;
    dc_0 = dc_n;
    for (int64_t step = times - 1; step >= 0; --step) backward(step);
  }

  int64_t at(int64_t step, int64_t row, int64_t unit) const {
    return (step * batch + row) * hidden + unit;
  }
  int64_t gate_at(int64_t step, int64_t row, int64_t gate, int64_t unit) const {
    return ((step * batch + row) * gates + gate) * hidden + unit;
  }
  int64_t tape_at(int64_t step, int64_t row, int64_t value, int64_t unit) const {
    return ((step * batch + row) * tape_values + value) * hidden + unit;
  }

 private:
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

  void forward(int64_t t) {
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t u = 0; u < hidden; ++u) {
        double pre[4], rec[4];
        for (int g = 0; g < gates; ++g) {
          pre[g] = ux[size_t(gate_at(t, b, g, u))];
          rec[g] = b_hh[size_t(g * hidden + u)];
          for (int64_t k = 0; k < hidden; ++k) {
            rec[g] += w[size_t((g * hidden + u) * hidden + k)] * h[size_t(at(t, b, k))];
          }
        }
        const double before = h[size_t(at(t, b, u))];
        double& after = h[size_t(at(t + 1, b, u))];
        const auto keep = [&](int value, double x) { tape[size_t(tape_at(t, b, value, u))] = x; };
        if (kind == Kind::kElman) {
          after = std::tanh(pre[0] + rec[0]);
        } else if (kind == Kind::kGru) {
          const double r = sigmoid(pre[0] + rec[0]), z = sigmoid(pre[1] + rec[1]);
          const double n = std::tanh(pre[2] + r * rec[2]);
          after = (1 - z) * n + z * before;
          keep(0, r), keep(1, z), keep(2, n), keep(3, rec[2]);
        } else {
          const double i = sigmoid(pre[0] + rec[0]), f = sigmoid(pre[1] + rec[1]);
          const double g = std::tanh(pre[2] + rec[2]), o = sigmoid(pre[3] + rec[3]);
          const double cell = f * c[size_t(at(t, b, u))] + i * g;
          c[size_t(at(t + 1, b, u))] = cell;
          after = o * std::tanh(cell);
          keep(0, i), keep(1, f), keep(2, g), keep(3, o);
        }
      }
    }
  }

  // dh_0 and dc_0 are the gradients of the states after step t, and become those before it.
  void backward(int64_t t) {
    std::vector<double> before(size_t(batch * hidden));
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t u = 0; u < hidden; ++u) {
        const size_t unit = size_t(b * hidden + u);
        const double dh = dh_0[unit] + dy[size_t(at(t, b, u))];
        const auto kept = [&](int value) { return tape[size_t(tape_at(t, b, value, u))]; };
        const double h_prev = h[size_t(at(t, b, u))], h_next = h[size_t(at(t + 1, b, u))];
        double pre[4] = {}, rec[4] = {};
        if (kind == Kind::kElman) {
          rec[0] = pre[0] = dh * (1 - h_next * h_next);
        } else if (kind == Kind::kGru) {
          const double r = kept(0), z = kept(1), n = kept(2);
          pre[2] = dh * (1 - z) * (1 - n * n);
          rec[2] = r * pre[2];
          rec[0] = pre[0] = pre[2] * kept(3) * r * (1 - r);
          rec[1] = pre[1] = dh * (h_prev - n) * z * (1 - z);
          before[unit] = dh * z;
        } else {
          const double i = kept(0), f = kept(1), g = kept(2), o = kept(3);
          const double tanh_c = std::tanh(c[size_t(at(t + 1, b, u))]);
          const double s = dc_0[unit] + dh * o * (1 - tanh_c * tanh_c);
          pre[0] = s * g * i * (1 - i);
          pre[1] = s * c[size_t(at(t, b, u))] * f * (1 - f);
          pre[2] = s * i * (1 - g * g);
          pre[3] = dh * tanh_c * o * (1 - o);
          for (int gate = 0; gate < 4; ++gate) rec[gate] = pre[gate];
          dc_0[unit] = s * f;
        }
        for (int gate = 0; gate < gates; ++gate) {
          d_pre[size_t(gate_at(t, b, gate, u))] = pre[gate];
          d_rec[size_t(gate_at(t, b, gate, u))] = rec[gate];
        }
      }
    }
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t j = 0; j < gates * hidden; ++j) {
        const double d = d_rec[size_t((t * batch + b) * gates * hidden + j)];
        for (int64_t u = 0; u < hidden; ++u) {
          before[size_t(b * hidden + u)] += d * w[size_t(j * hidden + u)];
        }
      }
    }
    dh_0 = before;
  }
};

}  // namespace normrnn::test
