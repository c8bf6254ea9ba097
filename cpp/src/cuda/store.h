// Memory that was given back, for calls to come; plain C++, with a test that needs no device.
#pragma once

#include <cstdint>
#include <set>
#include <utility>

namespace normrnn::cuda {

// Of blocks of one size the lowest goes first. So calls that ask for the same get the same places,
// in whatever order theirs were given back; recordings know places, and serve only then again.
class Store {
 public:
  // An eighth of a power of two, so that batches of nearly the same size share blocks.
  static int64_t block_size(int64_t bytes) {
    int64_t step = 512;
    while (step * 16 <= bytes) step *= 2;
    return (bytes + step - 1) / step * step;
  }

  // Of such a size; null if there is none.
  void* take(int64_t size) {
    const auto found = free_.lower_bound({size, 0});
    if (found == free_.end() || found->first != size) return nullptr;
    void* memory = reinterpret_cast<void*>(found->second);
    free_.erase(found);
    return memory;
  }
  void give(int64_t size, void* memory) {
    free_.emplace(size, reinterpret_cast<uintptr_t>(memory));
  }

  // Forgets all blocks, after drop(memory) of each; returns how many bytes they were.
  template <class Drop>
  int64_t clear(Drop&& drop) {
    int64_t bytes = 0;
    for (const auto& [size, memory] : free_) {
      drop(reinterpret_cast<void*>(memory));
      bytes += size;
    }
    free_.clear();
    return bytes;
  }

 private:
  std::set<std::pair<int64_t, uintptr_t>> free_;
};

}  // namespace normrnn::cuda
