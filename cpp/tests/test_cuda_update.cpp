// The update on the general path of devices, on a queue in the host's memory, against the CPU core:
// every rule and penalty, groups, clips, and gradients that are not finite.
#include "cuda/update.h"

#include <string>

#include "check.h"
#include "host_queue.h"
#include "normrnn/registry.h"

namespace normrnn::test {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

// Arrays of an update, and the call on them.
template <class T>
struct Weights {
  struct Tensor {
    UpdateTensor<T> facts{};
    std::vector<T> w, g, slot[kMaxSlots], center, factor, pull;
  };
  std::vector<Tensor> tensors;
  UpdateCall<T> options{};

  UpdateCall<T> call() {
    UpdateCall<T> to = options;
    for (Tensor& tensor : tensors) {
      UpdateTensor<T> at = tensor.facts;
      at.w = tensor.w.data();
      at.g = tensor.g.data();
      at.size = int64_t(tensor.w.size());
      for (int s = 0; s < kMaxSlots; ++s) {
        at.slot[s] = tensor.slot[s].empty() ? nullptr : tensor.slot[s].data();
      }
      at.center = tensor.center.empty() ? nullptr : tensor.center.data();
      at.factor = tensor.factor.empty() ? nullptr : tensor.factor.data();
      at.pull = tensor.pull.empty() ? nullptr : tensor.pull.data();
      to.tensors.push_back(at);
    }
    return to;
  }
};

// Any combination of options that the library can ask for.
template <class T>
Weights<T> draw_update(std::mt19937_64& rng, int rule) {
  const auto below = [&](int count) { return int(rng() % uint64_t(count)); };
  Weights<T> all;
  UpdateCall<T>& options = all.options;
  options.rule = rule;
  // What the Python classes hand over at the third step.
  const std::string name = rule_names()[size_t(rule)];
  const double lr = 0.1, b1 = 0.9, b2 = 0.99;
  const bool adam = name == "adam" || name == "adamw";
  const double momentum[] = {lr, 0.9, lr / 0.1, double(below(2))},
               of_adam[] = {lr / (1 - b1 * b1 * b1),         b1, 1 - b1, b2, 1 - b2, 1e-8,
                            1 / std::sqrt(1 - b2 * b2 * b2), lr};
  for (int i = 0; i < (adam ? 8 : 4); ++i) {
    options.rule_scalar[i] = T(adam ? of_adam[i] : momentum[i]);
  }
  options.clip_norm = options.clip_value = options.clip_ratio = kNone;
  const int clip = below(5);
  if (clip == 1) options.clip_norm = 0.5;
  if (clip == 2) options.clip_value = 0.2;
  if (clip == 3) options.clip_ratio = 0.3;
  options.check_finite = below(3) > 0;
  const bool plain = below(4) == 0;  // penalties on single weights alone

  const int count = 1 + below(4);
  int64_t groups = 0, shared = -1, shared_columns = 0;
  UpdateTensor<T> sharing{};
  for (int n = 0; n < count; ++n) {
    typename Weights<T>::Tensor tensor;
    UpdateTensor<T>& at = tensor.facts;
    at.rows = below(8) == 0 ? 0 : 1 + below(n == 0 ? 150 : 20);
    at.columns = shared >= 0 && below(2) ? shared_columns : 1 + below(n == 0 ? 140 : 30);
    const int64_t size = at.rows * at.columns;
    tensor.w = draw<T>(rng, size);
    tensor.g = draw<T>(rng, size);
    for (int s = 0; s < rules()[size_t(rule)].slots; ++s) {
      tensor.slot[s] = draw<T>(rng, size);
      for (T& value : tensor.slot[s]) value = std::abs(value);  // Adam's are not negative
    }
    at.apply = Apply(below(3));
    at.penalty = below(int(penalty_names().size()));
    for (T& scalar : at.penalty_scalar) scalar = T(0.02 * below(4));
    if (plain) {
      all.tensors.push_back(std::move(tensor));
      continue;
    }
    if (below(2)) tensor.center = draw<T>(rng, size);
    if (below(3) == 0) {
      tensor.factor = draw<T>(rng, size);
      for (T& value : tensor.factor) value = std::abs(value);
    }
    if (below(3) == 0) tensor.pull = draw<T>(rng, size);
    at.group_apply = Apply(below(3));
    at.group = below(int(group_names().size()));
    at.axis = GroupAxis(below(3));
    if (shared >= 0 && at.columns == shared_columns && below(4)) {  // "outgoing": several matrices
      at.group_apply = sharing.group_apply;
      at.group = sharing.group;
      at.axis = sharing.axis;
      at.first_group = shared;
    } else if (at.group_apply != Apply::kNone) {
      at.first_group = groups;
      const bool columns = at.axis == GroupAxis::kColumns;
      const int64_t own = columns ? at.columns : at.axis == GroupAxis::kRows ? at.rows : 1;
      groups += own;
      for (int64_t i = 0; i < own; ++i) {
        options.group_strength.push_back(0.25 * below(40) * std::sqrt(double(size) / 50) /
                                         double(columns ? at.columns : 10));
      }
      if (columns && shared < 0) {
        shared = at.first_group;
        shared_columns = at.columns;
        sharing = at;
      }
    }
    all.tensors.push_back(std::move(tensor));
  }
  return all;
}

template <class T>
void check_same(const std::vector<T>& got, const std::vector<T>& expected, double tolerance,
                const std::string& what) {
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::abs(double(got[i]) - double(expected[i])) <=
        tolerance * (1 + std::abs(double(expected[i])))) {
      continue;
    }
    std::printf("%s[%zu]: expected %.17g, got %.17g\n", what.c_str(), i, double(expected[i]),
                double(got[i]));
    ++failures;
    return;
  }
}

template <class T>
void check_update(int seed) {
  const double tolerance = sizeof(T) == 8 ? 1e-11 : 3e-5;
  for (int rule = 0; rule < int(rules().size()); ++rule) {
    std::mt19937_64 rng(static_cast<uint64_t>(seed));
    Weights<T> expected = draw_update<T>(rng, rule), got = expected;
    const UpdateResult result = update(expected.call());
    HostQueue queue(static_cast<uint64_t>(seed));
    double sums[cuda::kUpdateSums];
    std::fill(std::begin(sums), std::end(sums), std::nan(""));
    device::update(queue, got.call(), sums);
    const std::string what = rule_names()[size_t(rule)] + " " + std::to_string(seed);
    for (size_t t = 0; t < got.tensors.size(); ++t) {
      const std::string tensor = what + " tensor " + std::to_string(t);
      check_same(got.tensors[t].w, expected.tensors[t].w, tolerance, tensor);
      for (int s = 0; s < kMaxSlots; ++s) {
        check_same(got.tensors[t].slot[s], expected.tensors[t].slot[s], tolerance,
                   tensor + " slot");
      }
    }
    check_close(sums[cuda::kPenalty], result.penalty, tolerance, (what + " penalty").c_str());
    check_close(sums[cuda::kGradNorm], result.grad_norm, tolerance, (what + " grad").c_str());
    check_close(sums[cuda::kClippedNorm], result.clipped_norm, tolerance,
                (what + " clipped").c_str());
    check_close(sums[cuda::kUpdateNorm], result.update_norm, tolerance, (what + " moved").c_str());
    check_close(sums[cuda::kParamNorm], result.param_norm, tolerance, (what + " norm").c_str());
    check_close(sums[cuda::kClipScale], result.clip_scale, tolerance, (what + " scale").c_str());
    CHECK(sums[cuda::kBadCount] == 0 && sums[cuda::kBadTensor] == -1);
    CHECK(sums[cuda::kBadIndex] == -1 && sums[cuda::kBadValue] == 0);
    CHECK(queue.memory->taken == 0);
  }
}

template <class T>
void check_bad(T bad) {
  std::mt19937_64 rng(9);
  Weights<T> all;
  all.options.clip_norm = all.options.clip_value = all.options.clip_ratio = kNone;
  all.options.rule = index_of("rule", rule_names(), "adam");
  all.options.rule_scalar[0] = all.options.rule_scalar[7] = T(0.1);
  all.tensors.resize(3);
  for (auto& tensor : all.tensors) {
    tensor.w = draw<T>(rng, 9001);
    tensor.g = draw<T>(rng, 9001);
    for (int s = 0; s < 2; ++s) tensor.slot[s] = draw<T>(rng, 9001);
  }
  all.tensors[1].g[4999] = all.tensors[1].g[8000] = all.tensors[2].g[0] = bad;
  for (const bool by_rows : {false, true}) {
    all.options.clip_ratio = by_rows ? 0.1 : kNone;
    all.options.check_finite = !by_rows;
    for (auto& tensor : all.tensors) tensor.facts.rows = 1, tensor.facts.columns = 9001;
    Weights<T> got = all;
    HostQueue queue;
    double sums[cuda::kUpdateSums];
    device::update(queue, got.call(), sums);
    for (size_t t = 0; t < 3; ++t) {
      CHECK(got.tensors[t].w == all.tensors[t].w);
      for (int s = 0; s < 2; ++s) CHECK(got.tensors[t].slot[s] == all.tensors[t].slot[s]);
    }
    CHECK(std::isnan(sums[cuda::kGradNorm]) && sums[cuda::kBadCount] == 3);
    CHECK(sums[cuda::kBadTensor] == 1 && sums[cuda::kBadIndex] == 4999);
    CHECK(std::isnan(bad) ? std::isnan(sums[cuda::kBadValue]) : sums[cuda::kBadValue] == bad);
  }
}

// Squares beyond the largest double are no reason to refuse.
void check_huge() {
  Weights<double> all;
  all.options.clip_value = all.options.clip_ratio = kNone;
  all.options.clip_norm = 1;
  all.options.check_finite = true;
  all.options.rule_scalar[0] = 0.5;
  all.tensors.resize(1);
  all.tensors[0].w.assign(3, 1.0);
  all.tensors[0].g.assign(3, 1e200);
  HostQueue queue;
  double sums[cuda::kUpdateSums];
  device::update(queue, all.call(), sums);
  check_close(sums[cuda::kGradNorm] / 1e200, std::sqrt(3.0), 1e-12, "norm of huge gradients");
  check_close(all.tensors[0].w[2], 1 - 0.5 / std::sqrt(3.0), 1e-12, "w");
}

void tests() {
  for (int seed = 0; seed < 150; ++seed) {
    check_update<double>(seed);
    check_update<float>(seed);
  }
  for (const double bad : {double(NAN), double(INFINITY), -double(INFINITY)}) {
    check_bad<double>(bad);
    check_bad<float>(float(bad));
  }
  check_huge();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
