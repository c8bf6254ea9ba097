// The update: hand-computed steps, the look at the gradients, bits against threads, and how soon
// Newton's method for groups ends.
#include <limits>

#include "check.h"
#include "group_solver.h"
#include "groups/group_lasso.h"
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

// w [2, 3] with g = 0, step size 1/2 and strength 2: a threshold of 1 for the norm of each group.
template <class T>
void check_group_lasso(const char* rule) {
  struct Case {
    GroupAxis axis;
    std::vector<T> gradient, prox;  // the weights after a step of either kind
    double value;
  };
  // Rows (3, 0, 4) and (0, 0.6, 0) have norms 5 and 0.6; columns 3, 0.6 and 4.
  const std::vector<T> start = {3, 0, 4, 0, T(0.6), 0};
  const double whole = std::sqrt(25.36), left = 1 - 1 / whole;
  const std::vector<T> scaled = {T(3 * left), 0, T(4 * left), 0, T(0.6 * left), 0};
  const std::vector<Case> cases = {
      {GroupAxis::kRows,
       {T(2.4), 0, T(3.2), 0, T(0.6 - 1), 0},
       {T(2.4), 0, T(3.2), 0, 0, 0},
       2 * (5 + 0.6)},
      {GroupAxis::kColumns, {2, 0, 3, 0, T(0.6 - 1), 0}, {2, 0, 3, 0, 0, 0}, 2 * (3 + 0.6 + 4)},
      {GroupAxis::kWhole, scaled, scaled, 2 * whole},
  };
  const bool adam = std::string(rule) == "adam";
  for (const Case& one : cases) {
    for (const Apply apply : {Apply::kGradient, Apply::kProx}) {
      if (adam && apply == Apply::kGradient) continue;  // would be scaled by itself
      std::vector<T> w = start, m(6), v(6);
      const std::vector<T> g(6);
      UpdateCall<T> call = sgd(T(0.5));
      call.rule = index_of("rule", rule_names(), rule);
      if (adam) {  // with eps = 1 and no gradient yet, the step size of each weight is lr
        const T scalars[kMaxScalars] = {T(0.5), T(0.9), T(0.1), T(0.99), T(0.01), 1, 1, T(0.5)};
        std::copy_n(scalars, kMaxScalars, call.rule_scalar);
      }
      UpdateTensor<T> tensor = tensor_of(w, g);
      tensor.rows = 2;
      tensor.columns = 3;
      tensor.slot[0] = m.data();
      tensor.slot[1] = v.data();
      tensor.group = index_of("penalty", group_names(), "group_lasso");
      tensor.group_apply = apply;
      tensor.axis = one.axis;
      tensor.first_group = 1;  // behind another's
      call.group_strength = {7, 2, 2, 2};
      call.tensors = {tensor};
      const UpdateResult result = update(call);
      const std::vector<T>& wanted = apply == Apply::kProx ? one.prox : one.gradient;
      for (size_t i = 0; i < w.size(); ++i) check_close(w[i], wanted[i], 1e-6, "w");
      for (size_t i = 0; i < w.size(); ++i) CHECK(wanted[i] != 0 || w[i] == 0);
      check_close(result.penalty, one.value, 1e-6, "penalty");
    }
  }
}

// A group of two weights whose norm is `left` above what its penalty takes, of step sizes 1 and
// `other`. Newton's method has few steps to take, and each is a pass over memory.
template <class T>
void check_newton(double left, double other) {
  constexpr GroupKind kind = {"group_lasso", false, GroupLasso::value, GroupLasso::pull,
                              GroupLasso::factor};
  // S(0) = 1 is where the group dies: at this strength.
  const double w[] = {3, 4}, h[] = {1, other}, dies = std::hypot(3.0, 4 / other);
  const double strength = dies * (1 - left);
  GroupSolver<T> solver(kind, &strength, 1);
  for (int i = 0; i < 2; ++i) {
    solver.totals.after[0] += w[i] * w[i];
    solver.totals.first[0] += w[i] * w[i] * h[i];  // weighted
  }
  solver.start();
  int passes = 0;
  double sum = 0;
  for (bool arrived = false; !arrived && passes < 20; ++passes) {
    for (int i = 0; i < 2; ++i) {
      const T part = T(1) / (solver.root()[0] + solver.strength()[0] * T(h[i]));
      const double u = double(T(w[i]) * part);
      solver.totals.first[0] += u * u;
      solver.totals.second[0] += u * u * double(part);
    }
    arrived = solver.refine();
  }
  for (int i = 0; i < 2; ++i) {
    const double u = w[i] / (double(solver.root()[0]) + strength * h[i]);
    sum += u * u;
  }
  CHECK(passes < 8);
  check_close(sum, 1.0, 20 * std::numeric_limits<T>::epsilon(), "S at the root");
  if (other == 1) {
    check_close(solver.root()[0], 5 * left, 20 * std::numeric_limits<T>::epsilon(), "root");
  }
}

void tests() {
  check_group_lasso<float>("sgd");
  check_group_lasso<double>("sgd");
  check_group_lasso<float>("adam");
  check_group_lasso<double>("adam");
  for (const double left : {0.999, 0.8, 0.2, 1e-2, 1e-4, 1e-6, 0.0}) {
    for (const double other : {1.0, 0.3, 20.0}) {
      check_newton<float>(left, other);
      check_newton<double>(left, other);
    }
  }
  check_sgd_l2<float>();
  check_sgd_l2<double>();
  check_refusal();
  check_threads<float>();
  check_threads<double>();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
