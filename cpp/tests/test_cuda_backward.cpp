// Back-propagation on the general path of devices, on a queue in the host's memory, against the CPU
// core: gradients of everything, norms over time, state penalties, clips, dropout.
#include "cuda/backward.h"
#include "device_problem.h"

namespace normrnn::test {
namespace {

// Gradients add up over steps, rows and layers, and roundings with them.
template <class T>
double tolerance_of_gradients(const Problem<T>& problem) {
  return 20 * tolerance_of(problem);
}

template <class T>
void fill_nan(std::vector<std::vector<T>>& arrays) {
  for (auto& array : arrays) std::fill(array.begin(), array.end(), T(NAN));
}

template <class T>
void check_backward(const Problem<T>& problem, const char* what) {
  const auto core = problem.forward(1, true);
  const auto expected = problem.backward(*core.tape, 1);
  HostQueue queue(21);
  auto out = poisoned(problem);
  const auto tape = device::forward(queue, problem.forward_call(out, true), precision_of(problem));
  for (int again = 0; again < 2; ++again) {  // a tape serves more than once
    typename Problem<T>::Backward got;
    const BackwardCall<T> call = problem.backward_call(got);
    fill_nan(got.weights);
    fill_nan(got.initial);
    for (auto* array : {&got.x, &got.h_norm, &got.h_norm_clipped}) {
      std::fill(array->begin(), array->end(), T(NAN));
    }
    T penalty = T(NAN);
    device::backward(queue, *tape, call, &penalty);
    const double tolerance = tolerance_of_gradients(problem);
    for (size_t i = 0; i < got.weights.size(); ++i) {
      const std::string name = kind_name(problem.kinds[i % problem.kinds.size()]);
      check_arrays(got.weights[i], expected.weights[i], tolerance, what, name.c_str());
    }
    check_arrays(got.x, expected.x, tolerance, what, "dx");
    for (int s = 0; s < problem.states; ++s) {
      check_arrays(got.initial[size_t(s)], expected.initial[size_t(s)], tolerance, what, "dh0");
    }
    check_arrays(got.h_norm, expected.h_norm, tolerance, what, "h_norm");
    if (std::isfinite(problem.clip_state)) {
      check_arrays(got.h_norm_clipped, expected.h_norm_clipped, tolerance, what, "clipped");
    }
    check_close(double(penalty), expected.penalty, tolerance, "penalty");
    CHECK(queue.memory->taken == device::bytes_of(*tape));
  }
}

template <class T>
void check_all(Problem<T> problem, const char* what) {
  check_backward(problem, what);
  using Kind = StatePenaltyKind;
  const CellFacts& facts = problem.facts;
  for (const Kind kind :
       {Kind::kActivityL1, Kind::kActivityL2, Kind::kAr, Kind::kTar, Kind::kNormStabilizer}) {
    // sign(h) of an h near 0 depends on how its operands were rounded.
    if (kind != Kind::kActivityL1 || !problem.bf16) problem.penalties.push_back({kind, 0.1});
  }
  check_backward(problem, (std::string(what) + " penalties").c_str());
  problem.clip_state = 0.3;
  if (facts.gates == 1 && !facts.layer_norm && !facts.diagonal) {
    problem.penalties = {{Kind::kOmega, 0.01, false, 1e-6}, {Kind::kOmega, 0.02, true, 1e-20}};
  }
  check_backward(problem, (std::string(what) + " clip").c_str());
}

void tests() {
  for_problems<double>(check_all<double>);
  for_problems<float>(check_all<float>);
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
