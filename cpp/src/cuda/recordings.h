// Which repeatable bodies are recorded, and which recordings are kept; plain C++, with a test that
// needs no device.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>
#include <vector>

#include "cuda/queue.h"

namespace normrnn::cuda {

// A recording costs more than what it records and pays from its second use on, so a body is
// recorded when it comes a second time: a batch whose lengths never come again is not. And only if
// it fits beside all that was used since it came first: of bodies that come in turns and are too
// many, some then stay recorded, instead of each driving out the next. One whose recording failed
// a few times is left alone: once may have been another thread's doing.
template <class Graph>
class Recordings {
 public:
  explicit Recordings(int64_t most_calls) : most_(most_calls) {}

  // What is kept under a key, or null.
  const Graph* find(const device::Key& key) {
    const auto found = kept_.find(key.bytes());
    if (found == kept_.end()) return nullptr;
    found->second.used = ++now_;
    return &found->second.graph;
  }

  // Whether to record a body that is not kept. calls: how many there are in it.
  bool worth_it(const device::Key& key, int64_t calls) {
    const size_t hash = std::hash<std::string>()(key.bytes());
    Sighting& seen = seen_[hash % seen_.size()];
    if (seen.hash != hash) seen = {hash};
    const Sighting before = std::exchange(seen, {hash, ++now_, seen.failures});
    if (before.time == 0 || before.failures >= kMostFailures) return false;
    int64_t room = most_;
    for (const auto& [name, one] : kept_) room -= one.used > before.time ? one.size : 0;
    return size_of(calls) <= room;
  }

  // Of a body that was worth it.
  void failed(const device::Key& key) {
    const size_t hash = std::hash<std::string>()(key.bytes());
    Sighting& seen = seen_[hash % seen_.size()];
    if (seen.hash == hash) ++seen.failures;
  }

  // Returns those that had to go: the ones that were not used for longest.
  std::vector<Graph> keep(const device::Key& key, int64_t calls, Graph graph) {
    const int64_t size = size_of(calls);
    std::vector<Graph> gone;
    while (!kept_.empty() && size_ + size > most_) {
      const auto oldest = std::min_element(
          kept_.begin(), kept_.end(),
          [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
      gone.push_back(std::move(oldest->second.graph));
      size_ -= oldest->second.size;
      kept_.erase(oldest);
    }
    size_ += size;
    kept_.emplace(key.bytes(), Kept{std::move(graph), size, ++now_});
    return gone;
  }

  size_t count() const { return kept_.size(); }
  void clear() { kept_.clear(), size_ = 0; }

 private:
  static constexpr int64_t kLeast = 256;  // calls that a recording counts as
  static constexpr int kMostFailures = 3;
  struct Kept {
    Graph graph;
    int64_t size, used;
  };
  struct Sighting {
    size_t hash = 0;
    int64_t time = 0;  // 0: none
    int failures = 0;  // to record it
  };
  static int64_t size_of(int64_t calls) { return std::max(calls, kLeast); }

  const int64_t most_;
  int64_t size_ = 0, now_ = 0;
  std::unordered_map<std::string, Kept> kept_;
  std::array<Sighting, 1024> seen_{};  // by hash; the last one of each place
};

}  // namespace normrnn::cuda
