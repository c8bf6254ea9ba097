// The general path of devices, forwards, on a queue in the host's memory, against the CPU core.
#include "cuda/forward.h"
#include "device_problem.h"

namespace normrnn::test {
namespace {

template <class T>
void check_forward(const Problem<T>& problem, const char* what) {
  for (const bool need_grad : {true, false}) {
    const auto expected = problem.forward(1, need_grad);
    HostQueue queue(11);
    auto got = poisoned(problem);
    const auto tape =
        device::forward(queue, problem.forward_call(got, need_grad), precision_of(problem));
    CHECK((tape != nullptr) == need_grad);
    const double tolerance = tolerance_of(problem);
    check_arrays(got.y, expected.y, tolerance, what, "y");
    for (int s = 0; s < problem.states; ++s) {
      check_arrays(got.final[size_t(s)], expected.final[size_t(s)], tolerance, what, "final");
    }
    // What a tape says it owns is all that is left.
    CHECK(queue.memory->taken == (tape ? device::bytes_of(*tape) : 0));
  }
}

// Operands of 11 bits: what the core has no counterpart for is near its float32, and not the same.
void check_rounded(const Problem<float>& problem, const char* what) {
  if (problem.bf16 || problem.facts.layer_norm) return;
  const auto expected = problem.forward(1, false);
  for (const auto precision : {cuda::Precision::kTf32, cuda::Precision::kFloat16}) {
    HostQueue queue(12);
    auto got = poisoned(problem);
    device::forward(queue, problem.forward_call(got, false), precision);
    check_arrays(got.y, expected.y, 1e-2, what, "y of rounded operands");
    const auto zero = [](float value) { return value == 0; };
    CHECK(got.y != expected.y || std::all_of(got.y.begin(), got.y.end(), zero));
  }
}

void check_refusals() {
  Problem<double> problem("lstm", {2, 2, 2, 2, 1, 1}, false, {}, 1);
  HostQueue queue;
  Problem<double>::Forward got;
  bool thrown = false;
  try {
    device::forward(queue, problem.forward_call(got, true), cuda::Precision::kTf32);
  } catch (const std::invalid_argument& error) {
    thrown = std::string(error.what()) == "precision: expected full with float64 arrays";
  }
  CHECK(thrown && queue.calls == 0);
}

// In evaluation zoneout takes the mean, and the other kinds do nothing.
template <class T>
void check_evaluation(Problem<T> problem, const char* what) {
  if (!problem.dropout.seed) return;
  problem.dropout.training = false;
  const auto expected = problem.forward(1, false);
  HostQueue queue(13);
  auto got = poisoned(problem);
  device::forward(queue, problem.forward_call(got, false), precision_of(problem));
  check_arrays(got.y, expected.y, tolerance_of(problem), what, "y in evaluation");
}

void tests() {
  for_problems<double>([](const Problem<double>& problem, const char* what) {
    check_forward(problem, what);
    check_evaluation(problem, what);
  });
  for_problems<float>([](const Problem<float>& problem, const char* what) {
    check_forward(problem, what);
    check_evaluation(problem, what);
    check_rounded(problem, what);
  });
  check_refusals();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
