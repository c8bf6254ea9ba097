// How far exp, sigmoid and tanh lie from the exact values: at most 2 ulp in float32, 4 in float64.
//
// float32 is judged by the C library in double over a sample of all bit patterns, float64 in long
// double over drawn numbers. With NORMRNN_WHOLE=1 in the environment every one of the 2^32 floats
// is tried, which takes some minutes.
//
// The cells run where denormal numbers count as zero, both going in and coming out; the losses run
// where they do not. So every number is tried in a task of each kind.
#include "activations.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <string>
#include <thread>

#include "check.h"
#include "cpu/threads.h"
#include "samples.h"

namespace normrnn {

#define NORMRNN_DECLARE(name)                  \
  namespace name {                             \
  extern const test::Activations kActivations; \
  }
NORMRNN_DECLARE(baseline)
NORMRNN_DECLARE(avx2)
NORMRNN_DECLARE(avx512)
NORMRNN_DECLARE(avx512bf16)
NORMRNN_DECLARE(amx)
#undef NORMRNN_DECLARE

namespace test {
namespace {

template <class T>
struct Facts;
template <>
struct Facts<float> {
  using Wide = double;
  static constexpr double kMostUlp = 2;
  static constexpr double kExpLimit = 88;  // beyond it exp may stay where it is, short of infinity
};
template <>
struct Facts<double> {
  using Wide = long double;
  static constexpr double kMostUlp = 4;
  static constexpr double kExpLimit = 709;
};
template <class T>
using Wide = typename Facts<T>::Wide;
static_assert(std::numeric_limits<long double>::digits >= 64, "no reference for float64");

template <class T>
struct Function {
  const char* name;
  Activation<T> evaluate;
  Wide<T> (*exact)(Wide<T>);
  Wide<T> limit;  // beyond it, no less than the value there will do
  // An error that never counts, in an exact and in a compute task: near the smallest numbers
  // results may be flushed to zero or stop falling, and without FMA so may what is added to them.
  Wide<T> slack[2];
};

template <class T>
std::vector<Function<T>> functions(const ActivationsOf<T>& activations) {
  using W = Wide<T>;
  const W tiny = std::numeric_limits<T>::min(), infinity = std::numeric_limits<W>::infinity();
  const auto exp = [](W x) -> W { return std::exp(x); };
  const auto sigmoid = [](W x) -> W { return 1 / (1 + std::exp(-x)); };
  const auto tanh = [](W x) -> W { return std::tanh(x); };
  return {{"exp", activations.exp, exp, W(Facts<T>::kExpLimit), {tiny, tiny}},
          {"sigmoid", activations.sigmoid, sigmoid, infinity, {tiny, tiny}},
          {"tanh", activations.tanh, tanh, infinity, {0, tiny}}};
}

// |got - exact| in units of the distance between numbers of type T where the exact value lies.
template <class T>
double error_in_ulp(T got, Wide<T> exact) {
  int exponent = std::numeric_limits<T>::min_exponent;
  if (exact != 0) std::frexp(exact, &exponent);
  exponent = std::max(exponent, std::numeric_limits<T>::min_exponent);
  return double(std::abs(std::ldexp(got - exact, std::numeric_limits<T>::digits - exponent)));
}

template <class T>
struct Worst {
  double ulp = 0.5;  // all that are correctly rounded count as this
  T x = 0, got = 0;
  bool wrong = false;
  void take(const Worst& other) {
    if (other.wrong > wrong || (other.wrong == wrong && other.ulp > ulp)) *this = other;
  }
};

template <class T>
void judge(const Function<T>& f, T x, T got, Wide<T> exact, bool flushes, Worst<T>& worst) {
  if (std::isnan(x)) return worst.take({0, x, got, !std::isnan(got)});
  if (got == T(exact) && std::signbit(got) == std::signbit(exact)) return;
  if (x > f.limit) {
    const Wide<T> least = f.exact(f.limit) * (1 - std::numeric_limits<T>::epsilon());
    return worst.take({0, x, got, !(got >= least)});
  }
  const bool same_sign = std::signbit(got) == std::signbit(exact);
  const bool tiny = std::abs(exact) < std::numeric_limits<T>::min();
  const bool within_slack = std::abs(got - exact) <= f.slack[flushes];
  const double ulp = error_in_ulp(got, exact);
  const bool right = same_sign && (ulp <= Facts<T>::kMostUlp || within_slack);
  const bool counts = !right || (!tiny && ulp <= Facts<T>::kMostUlp);
  worst.take({counts ? ulp : 0, x, got, !right});
}

// The results of a task of a kind: the floating-point mode is the pool's affair.
template <class T>
std::vector<T> evaluate(Activation<T> f, const std::vector<T>& x, TaskKind kind) {
  struct Call {
    Activation<T> f;
    const std::vector<T>& x;
    std::vector<T> y;
  } call = {f, x, std::vector<T>(x.size())};
  const auto task = [](void* context, Worker&) {
    Call& c = *static_cast<Call*>(context);
    c.f(c.x.data(), int64_t(c.x.size()), c.y.data());
  };
  run_team(1, task, &call, kind);
  return call.y;
}

template <class T>
void judge_all(const Function<T>& f, const std::vector<T>& x, Worst<T>& worst) {
  const std::vector<T> exactly = evaluate(f.evaluate, x, TaskKind::kExact);
  const std::vector<T> flushing = evaluate(f.evaluate, x, TaskKind::kCompute);
  for (size_t i = 0; i < x.size(); ++i) {
    const Wide<T> exact = f.exact(x[i]);
    judge(f, x[i], exactly[i], exact, false, worst);
    judge(f, x[i], flushing[i], exact, true, worst);
  }
}

constexpr int64_t kChunk = 1 << 14;  // numbers at a time

template <class T, class Sample>
Worst<T> worst_of(const Function<T>& f, const Sample& sample, int threads) {
  Worst<T> worst;
  judge_all(f, edges<T>(), worst);
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  const auto work = [&] {
    Worst<T> own;
    std::vector<T> x;
    for (int64_t i = 0; (i = next.fetch_add(kChunk)) < sample.count();) {
      x.resize(size_t(std::min(kChunk, sample.count() - i)));
      for (size_t j = 0; j < x.size(); ++j) x[j] = sample(i + int64_t(j));
      judge_all(f, x, own);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    worst.take(own);
  };
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  return worst;
}

template <class T, class Sample>
void check(const ActivationsOf<T>& activations, const Sample& sample, int threads) {
  const char* dtype = sizeof(T) == 4 ? "float32" : "float64";
  for (const Function<T>& f : functions(activations)) {
    const Worst<T> worst = worst_of(f, sample, threads);
    std::printf("%s %s: at most %.3f ulp of %.0f, f(%.9g) = %.9g\n", dtype, f.name, worst.ulp,
                Facts<T>::kMostUlp, double(worst.x), double(worst.got));
    CHECK(!worst.wrong);
  }
}

// Where there is no room for an error, whatever the kind of task.
template <class T>
void check_exactly(const ActivationsOf<T>& f) {
  const T infinity = std::numeric_limits<T>::infinity(), tiny = std::numeric_limits<T>::min();
  const auto gives = [](Activation<T> f, T x, T y) {
    for (const TaskKind kind : {TaskKind::kExact, TaskKind::kCompute}) {
      const T got = evaluate(f, std::vector<T>(3, x), kind)[2];
      CHECK(got == y && std::signbit(got) == std::signbit(y));
    }
  };
  for (const T zero : {T(0), -T(0)}) {
    gives(f.exp, zero, 1);
    gives(f.sigmoid, zero, T(0.5));
    gives(f.tanh, zero, zero);
  }
  gives(f.exp, -infinity, 0);
  gives(f.sigmoid, infinity, 1);
  for (const T sign : {T(1), T(-1)}) {
    gives(f.tanh, sign * infinity, sign);
    gives(f.tanh, sign * tiny, sign * tiny);
  }
  const T denormal = -tiny / 4;
  CHECK(evaluate(f.tanh, {denormal}, TaskKind::kExact)[0] == denormal);
  const T flushed = evaluate(f.tanh, {denormal}, TaskKind::kCompute)[0];
  CHECK(flushed == 0 && std::signbit(flushed));
  CHECK(evaluate(f.sigmoid, {-infinity}, TaskKind::kCompute)[0] == 0);
}

void tests() {
  const char* text = std::getenv("NORMRNN_WHOLE");
  const bool whole = text && std::string(text) == "1";
  const int threads = whole ? num_threads() : 1;
  const Activations* all[] = {
      &baseline::kActivations,
#if defined(NORMRNN_WITH_avx2)
      &avx2::kActivations,
#endif
#if defined(NORMRNN_WITH_avx512)
      &avx512::kActivations,
#endif
#if defined(NORMRNN_WITH_avx512bf16)
      &avx512bf16::kActivations,
#endif
#if defined(NORMRNN_WITH_amx)
      &amx::kActivations,
#endif
  };
  for (const Activations* activations : all) {
    if (std::string(activations->target) != target().name) continue;
    check_exactly(activations->f32);
    check_exactly(activations->f64);
    check(activations->f32, SomeFloats{whole ? 1 : 509}, threads);
    check(activations->f64, SomeDoubles{whole ? 10'000'000 : 1'000'000}, threads);
  }
}

}  // namespace
}  // namespace test
}  // namespace normrnn

int main() { return normrnn::test::run(normrnn::test::tests); }
