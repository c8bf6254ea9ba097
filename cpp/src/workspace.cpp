#include "workspace.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

namespace normrnn {
namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kWorthKeeping = 1 << 14;  // bytes; malloc itself is quick with smaller ones

int64_t rounded(int64_t bytes) { return (std::max(bytes, kLine) + kLine - 1) / kLine * kLine; }

// Large blocks in large pages where the system has them: fewer faults, and strided reads of them
// find their addresses translated.
void* allocate(int64_t bytes) {
  constexpr int64_t kPage = 1 << 21;
  if (bytes < 2 * kPage) return std::aligned_alloc(kLine, size_t(bytes));
  void* memory = std::aligned_alloc(kPage, size_t((bytes + kPage - 1) / kPage * kPage));
#if defined(MADV_HUGEPAGE)
  if (memory) madvise(memory, size_t(bytes), MADV_HUGEPAGE);  // advice: nothing is lost if refused
#endif
  return memory;
}

// Blocks given back, by size.
class Store {
 public:
  void* take(int64_t bytes) {
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      in_use_ += bytes;
      const auto found = kept_.find(bytes);
      if (found != kept_.end()) {
        void* memory = found->second;
        kept_.erase(found);
        kept_bytes_ -= bytes;
        most_ = std::max(most_, in_use_);
        return memory;
      }
      shrink_to(std::max(most_ / 2, most_ - in_use_));
    }
    void* memory = allocate(bytes);
    const std::lock_guard<std::mutex> guard(mutex_);
    if (!memory) {  // once more, without what was kept
      shrink_to(0);
      memory = allocate(bytes);
    }
    if (!memory) {
      in_use_ -= bytes;
      throw std::bad_alloc();
    }
    most_ = std::max(most_, in_use_);
    return memory;
  }

  // A child made by fork() must not inherit the lock from a thread that it does not have.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

  void give(void* memory, int64_t bytes) {
    const std::lock_guard<std::mutex> guard(mutex_);
    in_use_ -= bytes;
    try {
      kept_.emplace(bytes, memory);
      kept_bytes_ += bytes;
    } catch (const std::bad_alloc&) {
      std::free(memory);
    }
    shrink_to(std::max(most_ / 2, most_ - in_use_));
  }

  void release() {
    const std::lock_guard<std::mutex> guard(mutex_);
    shrink_to(0);
    most_ = in_use_;
  }

 private:
  void shrink_to(int64_t bytes) {  // the largest blocks go first
    while (kept_bytes_ > bytes) {
      const auto last = std::prev(kept_.end());
      std::free(last->second);
      kept_bytes_ -= last->first;
      kept_.erase(last);
    }
  }

  std::mutex mutex_;
  std::multimap<int64_t, void*> kept_;
  int64_t kept_bytes_ = 0, in_use_ = 0, most_ = 0;
};

Store& store() {
  static Store* const one = [] {
    Store* made = new Store;  // outlives every tape that Python may still hold
    pthread_atfork([] { store().lock(); }, [] { store().unlock(); }, [] { store().unlock(); });
    return made;
  }();
  return *one;
}

}  // namespace

void* take_memory(int64_t bytes) {
  bytes = rounded(bytes);
  if (bytes >= kWorthKeeping) return store().take(bytes);
  void* memory = allocate(bytes);
  if (!memory) throw std::bad_alloc();
  return memory;
}

void give_memory(void* memory, int64_t bytes) {
  bytes = rounded(bytes);
  if (bytes >= kWorthKeeping) return store().give(memory, bytes);
  std::free(memory);
}

void release_memory() {
  store().release();
#if defined(__GLIBC__)
  malloc_trim(0);  // what was freed below something that is in use
#endif
}

}  // namespace normrnn
