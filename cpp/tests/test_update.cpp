// The update: one hand-computed step, the look at the gradients, bits against threads.
#include <limits>

#include "check.h"
#include "normrnn/api.h"
#include "normrnn/registry.h"

namespace normrnn::test {
namespace {

template <class T>
UpdateTensor<T> tensor_of(std::vector<T>& w, const std::vector<T>& g) {
  UpdateTensor<T> tensor{};
  tensor.w = w.data();
  tensor.g = g.data();
  tensor.size = int64_t(w.size());
  return tensor;
}

template <class T>
UpdateCall<T> sgd(T lr) {
  UpdateCall<T> call{};
  call.rule = index_of("rule", rule_names(), "sgd");
  call.rule_scalar[0] = lr;
  call.clip_norm = call.clip_value = call.clip_ratio = std::numeric_limits<double>::infinity();
  return call;
}

// w <- w - lr (g + 2 lambda w), on every length around the vector width.
template <class T>
void check_sgd_l2() {
  std::mt19937_64 rng(3);
  for (int64_t size = 0; size < 70; ++size) {
    std::vector<T> w = draw<T>(rng, size);
    const std::vector<T> before = w, g = draw<T>(rng, size);
    UpdateCall<T> call = sgd(T(0.1));
    UpdateTensor<T> tensor = tensor_of(w, g);
    tensor.penalty = index_of("penalty", penalty_names(), "l2");
    tensor.apply = Apply::kGradient;
    tensor.penalty_scalar[0] = T(0.25);
    call.tensors = {tensor};
    const UpdateResult result = update(call);
    double penalty = 0, grad = 0, moved = 0, norm = 0;
    for (int64_t i = 0; i < size; ++i) {
      check_close(w[i], before[i] - 0.1 * (g[i] + 2 * 0.25 * before[i]), 1e-6, "w");
      penalty += 0.25 * before[i] * before[i];
      grad += double(g[i]) * g[i];
      moved += double(w[i] - before[i]) * (w[i] - before[i]);
      norm += double(w[i]) * w[i];
    }
    check_close(result.penalty, penalty, 1e-6, "penalty");
    check_close(result.grad_norm, std::sqrt(grad), 1e-6, "grad_norm");
    check_close(result.update_norm, std::sqrt(moved), 1e-6, "update_norm");
    check_close(result.param_norm, std::sqrt(norm), 1e-6, "param_norm");
  }
}

void check_refusal() {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    std::mt19937_64 rng(4);
    std::vector<double> first = draw<double>(rng, 9000), second = first;
    const std::vector<double> before = first, good = first;
    std::vector<double> g = good;
    g[4321] = bad;
    UpdateCall<double> call = sgd(0.1);
    call.tensors = {tensor_of(first, good), tensor_of(second, g)};
    bool thrown = false;
    try {
      update(call);
    } catch (const NonFinite& error) {
      thrown = error.tensor == 1 && error.index == 4321;
    }
    CHECK(thrown && first == before && second == before);
  }
  // Squares beyond the largest double are no reason to refuse.
  std::vector<double> w(3, 1.0);
  const std::vector<double> huge(3, 1e200);
  UpdateCall<double> call = sgd(0.0);
  call.tensors = {tensor_of(w, huge)};
  check_close(update(call).grad_norm / 1e200, std::sqrt(3.0), 1e-12, "grad_norm");
}

template <class T>
void check_threads() {
  std::mt19937_64 rng(5);
  const std::vector<T> start = draw<T>(rng, 100003), g = draw<T>(rng, 100003);
  std::vector<T> alone;
  UpdateResult result_alone{};
  for (const int threads : {1, 2, 3, 7}) {
    std::vector<T> w = start;
    UpdateCall<T> call = sgd(T(0.1));
    call.clip_norm = 1;
    call.threads = threads;
    call.tensors = {tensor_of(w, g)};
    const UpdateResult result = update(call);
    if (threads == 1) {
      alone = w;
      result_alone = result;
    }
    CHECK(w == alone && result.param_norm == result_alone.param_norm);
    CHECK(result.update_norm == result_alone.update_norm && result.clip_scale < 1);
  }
}

void tests() {
  check_sgd_l2<float>();
  check_sgd_l2<double>();
  check_refusal();
  check_threads<float>();
  check_threads<double>();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
