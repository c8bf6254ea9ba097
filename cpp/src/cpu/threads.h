// A small pool of threads: one team works on a whole sequence.
//
// Workers spin for a moment between jobs, then sleep. The pool is made at first use, serves one
// caller at a time (a second one, on another thread, does its work alone: results do not depend on
// the number of workers), and is forgotten in a child process, which makes its own.
#pragma once

#include <cstdint>

namespace normrnn {

struct Job;

constexpr int kMaxGroups = 2;  // into which a team can be parted

// One worker's view of the job it takes part in.
class Worker {
 public:
  Worker(Job& job, int rank, int size, int group = 0, int first = 0)
      : job_(job), rank_(rank), size_(size), group_(group), first_(first) {}
  int rank() const;  // not inline: target files must share no code outside their namespaces
  int size() const;
  // The worker's place in one of `groups` teams of equal size, each with barriers of its own. The
  // team's size must be a multiple of `groups`.
  Worker part(int groups) const;
  int group() const;
  // The next task number that no other worker has taken.
  int64_t next();
  // Waits for all workers; false if the job was cancelled, and then everyone must return.
  bool barrier();
  // Nanoseconds waited at barriers so far; waits too short to look at the clock do not count.
  double waited() const;
  // Where the second of two groups follows the first: the first tells how many steps are done, the
  // second waits for so many; false if the job was cancelled, and then everyone must return.
  void publish(int64_t steps);
  bool await(int64_t steps);
  // To be told of multiply-adds done; true if the job was cancelled. The caller's own worker asks
  // the interrupt check every few milliseconds' worth of work.
  bool cancelled(int64_t work);

 private:
  Job& job_;
  int rank_, size_;
  int group_, first_;  // first_: rank in the whole team of the group's first worker
  int64_t work_ = 0;
  int late_ = 0;
  double waited_ = 0;
};

using Task = void (*)(void* context, Worker& worker);

// Asks whether the user wants the call to end (Ctrl-C). Called on the calling thread only.
using InterruptCheck = bool (*)();
void set_interrupt_check(InterruptCheck check);
// How often this thread was asked. What runs then may use the CPU's tile registers for itself.
unsigned interrupt_checks();

// kCompute: may take long, so it can be interrupted, and denormal numbers count as zero inside the
// task (the caller's floating-point mode comes back after). kExact: neither, and short: when the
// caller has come to the end, workers that have not begun yet are not waited for, and never begin.
// So such a task shares its work by next() alone.
enum class TaskKind { kCompute, kExact };

// Runs task on up to `workers` workers, the caller among them; false if it was cancelled.
bool run_team(int workers, Task task, void* context, TaskKind kind);

// Starts the threads of such a team, unless another caller has the pool: what can fail of run_team.
void prepare_team(int workers);

// Whether barriers had to wait for workers that were not running, a short while ago: the CPUs are
// shared with others, and a barrier may cost a time slice.
bool crowded();

constexpr int kMaxThreads = 1024;
int default_threads();  // NORMRNN_NUM_THREADS, else CPUs that affinity and control groups allow
int num_threads();
void set_num_threads(int count);  // >= 1

}  // namespace normrnn
