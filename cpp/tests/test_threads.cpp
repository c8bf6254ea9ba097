// The pool: every task once, barriers that hold, callers side by side, interrupts.
#include "cpu/threads.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cfenv>
#include <thread>

#include "check.h"

namespace normrnn::test {
namespace {

template <class F>
bool team(int workers, F&& f, TaskKind kind = TaskKind::kCompute) {
  const auto task = [](void* context, Worker& worker) {
    (*static_cast<std::remove_reference_t<F>*>(context))(worker);
  };
  return run_team(workers, task, &f, kind);
}

void check_tasks(int workers) {
  std::vector<std::atomic<int>> done(1000);
  CHECK(team(workers, [&](Worker& worker) {
    for (int64_t i = worker.next(); i < 1000; i = worker.next()) ++done[size_t(i)];
  }));
  for (const std::atomic<int>& count : done) CHECK(count == 1);
}

// Short jobs one behind the other: who comes late to one finds the next or none, never a job that
// is over, and nobody waits for those who sleep.
void check_late(int workers) {
  for (int round = 0; round < 2000; ++round) {
    std::atomic<int> done{0};
    CHECK(team(
        workers,
        [&](Worker& worker) {
          while (worker.next() < 3) ++done;
        },
        TaskKind::kExact));
    CHECK(done == 3);
  }
}

void check_barriers(int workers) {
  std::atomic<int> arrived{0};
  std::atomic<bool> early{false};
  CHECK(team(workers, [&](Worker& worker) {
    for (int step = 1; step <= 200; ++step) {
      ++arrived;
      if (!worker.barrier()) return;
      if (arrived < step * worker.size()) early = true;
      if (!worker.barrier()) return;
    }
  }));
  CHECK(!early);
}

void check_callers() {
  std::vector<std::thread> callers;
  std::atomic<int64_t> total{0};
  for (int c = 0; c < 8; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        team(3, [&](Worker& worker) {
          for (int64_t t = worker.next(); t < 10; t = worker.next()) ++total;
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total == 8 * 50 * 10);
}

// A worker that waits at a barrier, or works on and on, ends soon after an interrupt.
void check_interrupt() {
  set_interrupt_check([] { return true; });
  CHECK(!team(3, [](Worker& worker) {
    if (worker.rank() == 2) {
      while (!worker.cancelled(1 << 22)) {
      }
    }
    worker.barrier();
  }));
  std::atomic<int> finished{0};
  CHECK(team(
      2,
      [&](Worker& worker) {
        finished += !worker.cancelled(1 << 30);
        worker.barrier();
      },
      TaskKind::kExact));
  CHECK(finished == 2);
  set_interrupt_check(nullptr);
}

bool rounds_upward() {
  volatile float one = 1, tiny = 1e-10f;
  return one + tiny > 1;
}

// Once told to end, the pool asks no more; a task runs in the caller's rounding mode on every
// worker, and the caller finds its own as it was.
void check_mode() {
  static int asked;
  asked = 0;
  set_interrupt_check([] { return ++asked > 0; });
  CHECK(!team(3, [](Worker& worker) {
    while (!worker.cancelled(1 << 22)) {
    }
  }));
  CHECK(asked == 1);
  set_interrupt_check(nullptr);
  std::fesetround(FE_UPWARD);
  std::atomic<int> upward{0};
  CHECK(team(3, [&](Worker& worker) {
    upward += rounds_upward();
    worker.barrier();
  }));
  CHECK(upward == 3 && rounds_upward());
  std::fesetround(FE_TONEAREST);
}

// A child made by fork() has no threads but its own; it makes a pool of its own.
void check_fork() {
  check_tasks(3);
  const pid_t child = fork();
  if (child == 0) {
    check_tasks(3);
    _exit(failures != 0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

void tests() {
  for (const int workers : {1, 2, 3, 7}) {
    check_tasks(workers);
    check_late(workers);
    check_barriers(workers);
  }
  check_callers();
  check_interrupt();
  check_mode();
  check_fork();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
