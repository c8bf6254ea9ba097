// The contract of a queue: what the general path asks of a device, and what its kernels may assume.
//
// A queue takes work and does it later, in order. Its calls return at once; pointers in them are
// device pointers. CudaQueue (cuda_queue.cuh) puts it on a stream; HostQueue (tests/host_queue.h)
// does it with loops over memory of the host.
//
//   struct MyQueue {
//     // f(row, column) for all rows and columns: in any order, at the same time.
//     template <class F> void each(const char* name, int64_t rows, int64_t columns, F f);
//
//     // A program for each of rows x tiles groups of lanes, see below.
//     template <class Program>
//     void groups(const char* name, int64_t rows, int64_t tiles, Program program);
//
//     template <class T> void multiply(const Product<T>& product);
//     template <class T> void zero(T* to, int64_t count);
//     template <class T> void copy(T* to, const T* from, int64_t count);
//     // From the host's memory, which may change at once.
//     template <class T> void upload(T* to, const T* from, int64_t count);
//
//     // Memory, not initialised; given back after what was asked for until then.
//     std::shared_ptr<Arena> arena();
//
//     // body(i, queue) for i in [0, count): independent of each other, maybe at the same time.
//     template <class Body> void side_by_side(int count, Body&& body);
//
//     // body(queue), whose calls depend on nothing but what is in the key. They need not be made
//     // again: a queue may record what comes of a body and repeat it. Memory is asked for outside.
//     // calls: about how many there are.
//     template <class Body> void repeatable(const Key& key, int64_t calls, Body&& body);
//   };
//
// Names are for errors: string literals.
//
// A program is what a group of kLanes lanes does together for (row, tile): phases, each over a
// range of items that the lanes share out, and each with sums over all items, which later phases
// see.
//
//   struct MyProgram {
//     static constexpr int kLanes = 256;    // or 32
//     static constexpr int kPhases = 2, kSums = 1;
//     NORMRNN_FN void enter(int64_t row, int64_t tile);  // may be left out: comes first, on a copy
//     NORMRNN_FN Range items(int phase, int64_t row, int64_t tile) const;
//     template <class Phase>                // its value is a constant
//     NORMRNN_FN void item(Phase phase, int64_t row, int64_t tile, int64_t i, const Totals& totals,
//                          double* sum) const;     // adds to sum[kSums]
//     NORMRNN_FN void finish(int64_t row, int64_t tile, const Totals& totals) const;
//   };
//
// where Totals is double[kPhases][kSums]. Item i of a range [begin, end) is done by lane (i -
// begin) % kLanes. What an item writes, items of a later phase may read, and other items of the
// same phase may not. Sums are taken in a fixed order: each lane's own items in turn, and the lanes
// by halves.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "cuda/operands.h"

namespace normrnn::device {

struct Range {
  int64_t begin, end;
};

template <class Program>
using TotalsOf = double[Program::kPhases][Program::kSums];

// c = a b, or c += a b, row-major. Operands are numbers of T, or of 16 bits: see operands.h.
template <class T>
struct Product {
  const char* name;
  int64_t m, n, k;
  const void* a;  // [m, lda], or transposed [k, lda]
  int64_t lda;
  bool a_transposed;
  const void* b;  // [k, ldb], or transposed [n, ldb]
  int64_t ldb;
  bool b_transposed;
  T* c;  // [m, ldc]
  int64_t ldc;
  bool add;
  Operand operand;
};

// Where memory comes from and goes back to.
class Arena {
 public:
  virtual ~Arena() = default;
  virtual void* take(const char* what, int64_t bytes) = 0;
  virtual void give(void* memory, int64_t bytes) noexcept = 0;
};

template <class T>
class Memory {
 public:
  Memory() = default;
  Memory(std::shared_ptr<Arena> arena, const char* what, int64_t count)
      : arena_(std::move(arena)), count_(count) {
    int64_t bytes = 0;
    if (__builtin_mul_overflow(count, int64_t(sizeof(T)), &bytes)) throw std::bad_alloc();
    data_ = count ? static_cast<T*>(arena_->take(what, bytes)) : nullptr;
  }
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    Memory moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Memory() {
    if (data_) arena_->give(data_, bytes());
  }
  T* get() const { return data_; }
  int64_t bytes() const { return count_ * int64_t(sizeof(T)); }

 private:
  void swap(Memory& other) {
    std::swap(arena_, other.arena_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }
  std::shared_ptr<Arena> arena_;
  T* data_ = nullptr;
  int64_t count_ = 0;
};

template <class T, class Queue>
Memory<T> memory(Queue& queue, const char* what, int64_t rows, int64_t columns = 1) {
  int64_t count = 0;
  if (__builtin_mul_overflow(rows, columns, &count)) throw std::bad_alloc();
  return Memory<T>(queue.arena(), what, count);
}

// All that a recorded body depends on, as bytes.
class Key {
 public:
  template <class Plain>
  Key& add(const Plain& value) {
    static_assert(std::is_trivially_copyable_v<Plain>);
    return add(&value, 1);
  }
  template <class Plain>
  Key& add(const Plain* values, size_t count) {
    if (count) bytes_.append(reinterpret_cast<const char*>(values), count * sizeof(Plain));
    return *this;
  }
  bool operator==(const Key&) const = default;
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace normrnn::device
