// The pool, the jobs that it runs and their barriers, and the numbers of CPUs and threads.
//
// One file of 400 lines, for workers, jobs and the pool are made of the same few atomics.
#include "cpu/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/cgroup.h"

namespace normrnn {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int64_t kQuantum = 1 << 22;  // multiply-adds between looks at the clock: well under 1 ms
constexpr auto kInterruptPeriod = std::chrono::milliseconds(20);
constexpr unsigned kSpinsToYield = 1 << 12;  // a waiter that shares its core lets the others go on
constexpr auto kSpinTime =
    std::chrono::microseconds(200);        // longer than the gap between most calls
constexpr unsigned kSpinsToLook = 1 << 6;  // at the clock

// Barriers that had to yield before a job counts as crowded, and for how long that is believed.
constexpr int kLateBarriers = 4;
constexpr auto kCrowdMemory = std::chrono::milliseconds(200);

std::atomic<int> known_cpus{0}, known_default{0};  // 0: a child made by fork() asks again

// CPUs that this process could run on when it first asked.
int cpus() {
  int count = known_cpus.load(std::memory_order_relaxed);
  if (count == 0) {
    cpu_set_t allowed;
    count = sched_getaffinity(0, sizeof allowed, &allowed) == 0
                ? CPU_COUNT(&allowed)
                : int(std::thread::hardware_concurrency());
    known_cpus.store(count, std::memory_order_relaxed);
  }
  return count;
}

InterruptCheck interrupt_check = nullptr;
thread_local unsigned checks = 0;
std::atomic<SteadyClock::rep> crowded_until{0};

void note_crowd() {
  crowded_until.store((SteadyClock::now() + kCrowdMemory).time_since_epoch().count(),
                      std::memory_order_relaxed);
}

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The floating-point control word: rounding, and whether denormals count as zero.
#if defined(__x86_64__)
using FloatingPointMode = unsigned;
constexpr FloatingPointMode kFlushDenormals = 0x8040;
FloatingPointMode get_mode() { return _mm_getcsr() & ~0x3fu; }  // without the sticky flags
void set_mode(FloatingPointMode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
using FloatingPointMode = uint64_t;
constexpr FloatingPointMode kFlushDenormals = uint64_t{1} << 24;
FloatingPointMode get_mode() {
  FloatingPointMode mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_mode(FloatingPointMode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
using FloatingPointMode = int;
constexpr FloatingPointMode kFlushDenormals = 0;
FloatingPointMode get_mode() { return 0; }
void set_mode(FloatingPointMode) {}
#endif

// Sets a mode while alive.
class ModeGuard {
 public:
  explicit ModeGuard(FloatingPointMode mode) : saved_(get_mode()) { set_mode(mode); }
  ~ModeGuard() { set_mode(saved_); }
  ModeGuard(const ModeGuard&) = delete;

 private:
  FloatingPointMode saved_;
};

}  // namespace

struct Job {
  Task task;
  void* context;
  int size;
  TaskKind kind;
  // Every worker takes over the caller's mode, or results would depend on who does what. Denormals
  // cost a hundredfold on some CPUs, and gradients through a long sequence end there.
  FloatingPointMode caller_mode = get_mode();
  SteadyClock::time_point last_check = SteadyClock::now();  // touched by rank 0 alone
  alignas(64) std::atomic<int64_t> next{0};
  struct alignas(64) Gate {
    std::atomic<int> arrived{0};
    std::atomic<unsigned> phase{0};
  };
  Gate gate[kMaxGroups];
  alignas(64) std::atomic<int64_t> steps_done{0};
  std::atomic<bool> cancel{false};

  void run(int rank) noexcept {  // a task must not throw: the others would go on
    const ModeGuard mode(kind == TaskKind::kCompute ? caller_mode | kFlushDenormals : caller_mode);
    Worker worker(*this, rank, size);
    task(context, worker);
  }

  // Rank 0 only.
  void poll() {
    if (!interrupt_check || kind == TaskKind::kExact || cancel.load(std::memory_order_relaxed)) {
      return;  // once told to end, do not ask again: a Python exception is waiting
    }
    const auto now = SteadyClock::now();
    if (now - last_check < kInterruptPeriod) return;
    last_check = now;
    const ModeGuard mode(caller_mode);
    ++checks;
    if (interrupt_check()) cancel.store(true, std::memory_order_relaxed);
  }

  struct Wait {
    unsigned yields = 0;  // how often others were let go first
    double nanoseconds = 0;
  };

  // Spins until done() holds; the caller's own thread looks out for interrupts meanwhile.
  template <class Done>
  Wait wait(int rank, Done done) {
    // With more workers than CPUs the one waited for may need this very CPU.
    const unsigned spins_to_yield = size > cpus() ? 1 << 4 : kSpinsToYield;
    Wait wait;
    SteadyClock::time_point start;
    unsigned spins = 1;
    for (; !done(); ++spins) {
      relax();
      if (spins == kSpinsToLook) start = SteadyClock::now();
      if (spins % spins_to_yield == 0) {
        if (rank == 0) poll();
        sched_yield();
        ++wait.yields;
      }
    }
    if (spins > kSpinsToLook) {
      wait.nanoseconds =
          std::chrono::duration<double, std::nano>(SteadyClock::now() - start).count();
    }
    return wait;
  }
};

int Worker::rank() const { return rank_; }
int Worker::size() const { return size_; }
int Worker::group() const { return group_; }
double Worker::waited() const { return waited_; }

Worker Worker::part(int groups) const {
  const int each = size_ / groups, group = rank_ / each;
  return {job_, rank_ - group * each, each, group, group * each};
}

int64_t Worker::next() { return job_.next.fetch_add(1, std::memory_order_relaxed); }

bool Worker::barrier() {
  if (size_ > 1) {
    Job::Gate& gate = job_.gate[group_];
    const unsigned phase = gate.phase.load(std::memory_order_relaxed);
    if (gate.arrived.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
      gate.arrived.store(0, std::memory_order_relaxed);
      gate.phase.store(phase + 1, std::memory_order_release);
    } else {
      const Job::Wait wait = job_.wait(first_ + rank_, [&] {
        return gate.phase.load(std::memory_order_acquire) != phase ||
               job_.cancel.load(std::memory_order_relaxed);
      });
      waited_ += wait.nanoseconds;
      if (wait.yields > 0 && ++late_ == kLateBarriers) note_crowd();
    }
  }
  return !job_.cancel.load(std::memory_order_relaxed);
}

void Worker::publish(int64_t steps) { job_.steps_done.store(steps, std::memory_order_release); }

bool Worker::await(int64_t steps) {
  job_.wait(first_ + rank_, [&] {
    return job_.steps_done.load(std::memory_order_acquire) >= steps ||
           job_.cancel.load(std::memory_order_relaxed);
  });
  return !job_.cancel.load(std::memory_order_relaxed);
}

bool Worker::cancelled(int64_t work) {
  work_ += work;
  if (work_ < kQuantum) return false;
  work_ = 0;
  if (first_ + rank_ == 0) job_.poll();
  return job_.cancel.load(std::memory_order_relaxed);
}

namespace {

// Signals are for the program's own threads, which may have chosen who takes them.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;

 private:
  sigset_t saved_;
};

class Pool {
 public:
  // False if another caller has the pool.
  bool try_run(Job& job) {
    std::unique_lock<std::mutex> owner(busy_, std::try_to_lock);
    if (!owner) return false;
    grow(job.size);
    for (int i = 0; i < job.size - 1; ++i) {
      seats_[i]->job.store(&job, std::memory_order_release);
      seats_[i]->job.notify_one();
    }
    job.run(0);
    for (int i = 0; i < job.size - 1; ++i) {
      Job* offered = &job;
      if (job.kind == TaskKind::kExact &&
          seats_[i]->job.compare_exchange_strong(offered, nullptr, std::memory_order_acquire)) {
        continue;  // this worker was asleep, and now has nothing to do
      }
      job.wait(0, [&] { return seats_[i]->job.load(std::memory_order_acquire) == nullptr; });
    }
    return true;
  }

  // The same, of starting its threads.
  void try_grow(int workers) {
    std::unique_lock<std::mutex> owner(busy_, std::try_to_lock);
    if (owner) grow(workers);
  }

 private:
  // A job is offered here, and taken by putting taken() in its place; then nobody may withdraw it.
  struct alignas(64) Seat {
    std::atomic<Job*> job{nullptr};
  };
  static Job* taken() {
    static Job mark{};
    return &mark;
  }

  void grow(int workers) {
    while (int(seats_.size()) < workers - 1) {
      auto seat = std::make_unique<Seat>();
      seats_.reserve(seats_.size() + 1);  // from here to push_back nothing may throw but the thread
      const BlockSignals blocked;         // which the new thread inherits
      try {
        std::thread(serve, seat.get(), int(seats_.size()) + 1).detach();
      } catch (const std::system_error& error) {
        throw std::runtime_error("num_threads: expected threads that the system can start, got '" +
                                 std::string(error.what()) + "' after " +
                                 std::to_string(seats_.size() + 1));
      }
      seats_.push_back(std::move(seat));
    }
  }

  static void serve(Seat* seat, int rank) {
    for (;;) {
      Job* job = seat->job.load(std::memory_order_acquire);
      const auto last =
          SteadyClock::now() + (rank < cpus() ? kSpinTime : SteadyClock::duration::zero());
      for (unsigned spins = 1; !job; ++spins) {
        if (spins % kSpinsToLook == 0 && SteadyClock::now() > last) {
          seat->job.wait(nullptr, std::memory_order_acquire);
        }
        relax();
        job = seat->job.load(std::memory_order_acquire);
      }
      if (!seat->job.compare_exchange_strong(job, taken(), std::memory_order_acquire)) continue;
      job->run(rank);
      seat->job.store(nullptr, std::memory_order_release);
    }
  }

  std::mutex busy_;
  std::vector<std::unique_ptr<Seat>> seats_;
};

// Never destroyed: its threads sleep until the process ends.
std::atomic<Pool*> pool{nullptr};

void register_fork() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    pool.store(nullptr, std::memory_order_relaxed);
    known_cpus.store(0, std::memory_order_relaxed);
    known_default.store(0, std::memory_order_relaxed);
  });
  (void)registered;
}

Pool& the_pool() {
  register_fork();
  Pool* current = pool.load(std::memory_order_acquire);
  if (!current) {
    Pool* made = new Pool;
    if (pool.compare_exchange_strong(current, made)) return *made;
    delete made;
  }
  return *current;
}

std::atomic<int> chosen_threads{0};  // 0: the default

}  // namespace

bool crowded() {
  const SteadyClock::rep until = crowded_until.load(std::memory_order_relaxed);
  return until && SteadyClock::now().time_since_epoch().count() < until;
}

void set_interrupt_check(InterruptCheck check) { interrupt_check = check; }
unsigned interrupt_checks() { return checks; }

bool run_team(int workers, Task task, void* context, TaskKind kind) {
  const auto begun = kind == TaskKind::kCompute ? SteadyClock::now() : SteadyClock::time_point();
  Job job{task, context, std::max(1, workers), kind, get_mode(), begun, {}, {}, {}, {}};
  if (job.size == 1 || !the_pool().try_run(job)) {
    job.size = 1;
    job.run(0);
  }
  return !job.cancel.load(std::memory_order_relaxed);
}

void prepare_team(int workers) {
  if (workers > 1) the_pool().try_grow(workers);
}

int default_threads() {
  const char* text = std::getenv("NORMRNN_NUM_THREADS");
  if (text && *text) {  // empty is as good as not set
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    if (end == text || *end || count < 1 || count > kMaxThreads) {
      throw std::invalid_argument("NORMRNN_NUM_THREADS: expected an integer from 1 to " +
                                  std::to_string(kMaxThreads) + ", got '" + text + "'");
    }
    return int(count);
  }
  const int granted = cgroup_cpus();
  return std::clamp(granted ? std::min(cpus(), granted) : cpus(), 1, kMaxThreads);
}

int num_threads() {
  if (const int chosen = chosen_threads.load(std::memory_order_relaxed)) return chosen;
  int count = known_default.load(std::memory_order_relaxed);
  if (count == 0) {
    register_fork();
    count = default_threads();
    known_default.store(count, std::memory_order_relaxed);
  }
  return count;
}

void set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads) {
    throw std::invalid_argument("count: expected an integer from 1 to " +
                                std::to_string(kMaxThreads) + ", got " + std::to_string(count));
  }
  chosen_threads.store(count, std::memory_order_relaxed);
}

}  // namespace normrnn
