// Memory for the drivers: aligned, owned, sizes checked; and work shared out among threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "cpu/threads.h"
#include "normrnn/api.h"

namespace normrnn {

// Product of sizes; throws std::length_error beyond 63 bits.
template <class... Sizes>
int64_t product(Sizes... sizes) {
  int64_t total = 1;
  for (const int64_t size : {int64_t(sizes)...}) {
    if (__builtin_mul_overflow(total, size, &total)) {
      throw std::length_error("sizes: expected a product below 2^63 elements, got more");
    }
  }
  return total;
}

// Cache-line aligned memory, not initialised. What is given back is kept for the next call of the
// same size, because fresh pages cost more than the arithmetic done on them; what is kept is never
// more than half of the most that was ever in use, or what is left to that. Throws std::bad_alloc.
void* take_memory(int64_t bytes);
void give_memory(void* memory, int64_t bytes);

// Gives what is kept back to the system, and forgets how much was ever in use.
void release_memory();

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count)
      : data_(static_cast<T*>(take_memory(product(count, int64_t(sizeof(T)))))), count_(count) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_) give_memory(data_, count_ * int64_t(sizeof(T)));
  }
  int64_t bytes() const { return count_ * int64_t(sizeof(T)); }
  T* get() { return data_; }
  const T* get() const { return data_; }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }
  T* data_ = nullptr;
  int64_t count_ = 0;
};

// Distance between rows of `count` elements: whole vectors, and off the multiples of 1 KiB at which
// the rows of a tile would fall into the same few sets of the cache.
template <class T>
int64_t padded_row(int64_t count, int lanes) {
  const int64_t rounded = (count + lanes - 1) / lanes * lanes;
  const int64_t line = 64 / int64_t(sizeof(T));
  return rounded * int64_t(sizeof(T)) % 1024 == 0 ? rounded + (line > lanes ? line : lanes)
                                                  : rounded;
}

// f(worker) on a team; throws Interrupted if the user ended it.
template <class F>
void run_parallel(int workers, F&& f) {
  const auto task = [](void* context, Worker& worker) {
    (*static_cast<std::remove_reference_t<F>*>(context))(worker);
  };
  if (!run_team(workers, task, &f, TaskKind::kCompute)) throw Interrupted();
}

// Workers that `work` multiply-adds are worth: waking a team costs some microseconds.
inline int workers_for(int64_t work, int threads) {
  constexpr int64_t kWorthATeam = 1 << 18;
  return work < kWorthATeam ? 1 : threads;
}

inline int workers_for_additions(int64_t work, int threads) {
  constexpr int64_t kWorthATeam = 1 << 16;  // some 5 us, what it takes to wake one
  return work < kWorthATeam ? 1 : threads;
}

// f(i) for i in [0, count), exact and in one go, on as many workers as `work` additions are worth.
// Each has a range of its own, the same in every call, for what it reads may still be in its cache,
// and goes on with the others' when that is done. Where f throws, the others end what they do, and
// the exception comes out of this call.
template <class F>
void parallel_for(int threads, int64_t count, int64_t work, F&& f) {
  if (count == 0) return;
  constexpr int kMostRanges = 32;
  struct alignas(64) Range {
    std::atomic<int64_t> next;
  };
  const int workers = workers_for_additions(work, threads);
  const int ranges = workers < kMostRanges ? workers : kMostRanges;
  Range range[kMostRanges];
  for (int r = 0; r < ranges; ++r) range[r].next = count * r / ranges;
  std::exception_ptr thrown;
  std::atomic_flag failed;
  auto share = [&](Worker& worker) {
    for (int k = 0; k < ranges; ++k) {
      const int r = (worker.rank() + k) % ranges;
      const int64_t end = count * (r + 1) / ranges;
      for (int64_t i = range[r].next++; i < end; i = range[r].next++) {
        try {
          f(i);
        } catch (...) {
          if (!failed.test_and_set()) thrown = std::current_exception();
        }
      }
    }
  };
  const auto task = [](void* context, Worker& worker) {
    (*static_cast<decltype(share)*>(context))(worker);
  };
  run_team(workers, task, &share, TaskKind::kExact);
  if (thrown) std::rethrow_exception(thrown);
}

// f(i) for i in [0, rows), a few at a time, each worth `work_of_row` additions.
template <class F>
void parallel_rows(int threads, int64_t rows, int64_t work_of_row, F&& f) {
  constexpr int64_t kAtOnce = 16;
  parallel_for(threads, (rows + kAtOnce - 1) / kAtOnce, rows * work_of_row, [&](int64_t chunk) {
    const int64_t end = rows < (chunk + 1) * kAtOnce ? rows : (chunk + 1) * kAtOnce;
    for (int64_t i = chunk * kAtOnce; i < end; ++i) f(i);
  });
}

// The products of weight gradients; kernel: of the operands' type.
template <class Kernel, class Outer>
void run_outer(const Kernel& kernel, const Outer* ops, int count, int workers) {
  Buffer<char> memory(product(workers, kernel.outer_bytes));
  run_parallel(workers, [&](Worker& worker) {
    kernel.outer(ops, count, worker, memory.get() + worker.rank() * kernel.outer_bytes);
  });
}

}  // namespace normrnn
