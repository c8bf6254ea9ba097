// Blocks of a simulated grid: real threads of which one runs at a time, in an order that a seed
// decides.
//
// Writes to shared places become visible later than they are made, each at a time of its own; only
// writes of one block to one place keep their order. At any time one block is slow, and the writes
// of one block are: they move on when nothing else does, and seldom otherwise. Nothing but the seed
// decides what happens, so whatever a seed finds it finds again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace normrnn::test {

class Interleaver {
 public:
  // At most `resident` blocks are on the device at once; a block makes room when it ends.
  Interleaver(uint64_t seed, int resident) : rng_(seed), resident_(resident) {}

  // Runs all blocks to the end, or until none can go on. Returns "" or what went wrong first.
  std::string run(int blocks, const std::function<void(int)>& block);

  // For blocks: other blocks may run now, writes may become visible.
  void yield() {
    if (draw(8) == 0) switch_from(current_, State::kReady);
  }
  // For blocks that look for something and have not found it. One that has looked at everything
  // since its last pause, with nothing changed in between, waits until something changes.
  void pause() {
    Fiber& self = *fibers_[current_];
    const bool nothing_new = self.looked_at == version_;
    self.looked_at = version_;
    switch_from(current_, nothing_new ? State::kWaiting : State::kReady);
  }
  int current() const { return current_; }

  // A write by the running block to `place`, visible when it is carried out.
  void write(int64_t place, std::function<void()> carry_out);
  // How many writes the running block has made; carries out those of `block` up to its nth.
  int64_t writes() const { return fibers_[current_]->writes; }
  void flush(int block, int64_t nth);
  // Something that waiting blocks may wait for has happened.
  void changed() { ++version_; }
  // Notes an error and ends the run.
  void fail(const std::string& what);

 private:
  enum class State { kOutside, kReady, kWaiting, kDone };
  struct Stopped {};
  struct Fiber {
    State state = State::kOutside;
    int64_t looked_at = -1, writes = 0;
    std::condition_variable turn;
    std::thread thread;
  };
  struct Write {
    int block;
    int64_t nth;
    std::function<void()> carry_out;
  };
  struct Place {  // with writes in flight, in their order
    int64_t id;
    std::deque<Write> writes;
  };

  static constexpr uint64_t kSeldom = 50;

  uint64_t draw(uint64_t n) { return rng_() % n; }
  void draw_slow_ones() {
    slow_block_ = int(draw(fibers_.size()));
    slow_writer_ = int(draw(fibers_.size()));
  }
  void carry_out(size_t index);
  void choose();
  void switch_from(int fiber, State state);
  void wait_for_turn(std::unique_lock<std::mutex>& lock, int fiber);

  std::mt19937_64 rng_;
  int resident_, current_ = -1, slow_block_ = 0, slow_writer_ = 0;
  int64_t version_ = 0;
  bool stopped_ = false;
  std::string error_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Place> pending_;
  std::unordered_map<int64_t, size_t> pending_at_;  // of a place's id
};

inline void Interleaver::write(int64_t place, std::function<void()> carry_out) {
  const auto [at, added] = pending_at_.try_emplace(place, pending_.size());
  if (added) pending_.push_back({place, {}});
  pending_[at->second].writes.push_back(
      {current_, ++fibers_[current_]->writes, std::move(carry_out)});
}

inline void Interleaver::carry_out(size_t index) {
  Place& place = pending_[index];
  const std::function<void()> act = std::move(place.writes.front().carry_out);
  place.writes.pop_front();
  if (place.writes.empty()) {
    pending_at_.erase(place.id);
    if (index + 1 < pending_.size()) {
      place = std::move(pending_.back());
      pending_at_[place.id] = index;
    }
    pending_.pop_back();
  }
  act();
  changed();
}

inline void Interleaver::flush(int block, int64_t nth) {
  for (size_t i = pending_.size(); i-- > 0;) {
    while (i < pending_.size() && pending_[i].writes.front().block == block &&
           pending_[i].writes.front().nth <= nth) {
      carry_out(i);
    }
  }
}

inline void Interleaver::fail(const std::string& what) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (error_.empty()) error_ = what;
  stopped_ = true;
  throw Stopped{};
}

// Who runs next. Writes in flight are carried out between turns: some of them, or one at least
// where no block can do anything without.
inline void Interleaver::choose() {
  if (draw(20 * kSeldom) == 0) draw_slow_ones();
  std::vector<int> ready;
  const auto look = [&] {
    ready.clear();
    int inside = 0;
    for (const auto& fiber : fibers_) {
      inside += fiber->state == State::kReady || fiber->state == State::kWaiting;
    }
    for (size_t i = 0; i < fibers_.size(); ++i) {
      Fiber& fiber = *fibers_[i];
      if (fiber.state == State::kReady ||
          (fiber.state == State::kWaiting && fiber.looked_at != version_) ||
          (fiber.state == State::kOutside && inside < resident_)) {
        ready.push_back(int(i));
      }
    }
  };
  look();
  while (!pending_.empty() && (ready.empty() || draw(8) != 0)) {
    const size_t index = draw(pending_.size());
    const bool slow = pending_[index].writes.front().block == slow_writer_;
    if (slow && !ready.empty() && draw(kSeldom) != 0) continue;
    if (slow && ready.empty() && draw(4) != 0) continue;  // others of the writes in flight first
    carry_out(index);
    look();
  }
  if (ready.empty()) {
    bool done = true;
    for (const auto& fiber : fibers_) done = done && fiber->state == State::kDone;
    if (!done && error_.empty()) error_ = "dead-lock";
    stopped_ = true;
    return;
  }
  do {
    current_ = ready[draw(ready.size())];
  } while (current_ == slow_block_ && ready.size() > 1 && draw(kSeldom) != 0);
  if (fibers_[current_]->state == State::kOutside) fibers_[current_]->state = State::kReady;
}

inline void Interleaver::wait_for_turn(std::unique_lock<std::mutex>& lock, int fiber) {
  fibers_[fiber]->turn.wait(lock, [&] { return stopped_ || current_ == fiber; });
  if (stopped_) throw Stopped{};
  fibers_[fiber]->state = State::kReady;
}

inline void Interleaver::switch_from(int fiber, State state) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (stopped_) throw Stopped{};
  fibers_[fiber]->state = state;
  choose();
  if (stopped_) {
    for (const auto& other : fibers_) other->turn.notify_one();
    throw Stopped{};
  }
  if (current_ != fiber) fibers_[current_]->turn.notify_one();
  wait_for_turn(lock, fiber);
}

inline std::string Interleaver::run(int blocks, const std::function<void(int)>& block) {
  for (int i = 0; i < blocks; ++i) fibers_.push_back(std::make_unique<Fiber>());
  std::unique_lock<std::mutex> lock(mutex_);
  for (int i = 0; i < blocks; ++i) {
    fibers_[i]->thread = std::thread([this, i, &block] {
      try {
        {
          std::unique_lock<std::mutex> inner(mutex_);
          wait_for_turn(inner, i);
        }
        block(i);
        std::unique_lock<std::mutex> inner(mutex_);
        fibers_[i]->state = State::kDone;
        changed();
        choose();
      } catch (const Stopped&) {
      }
      std::unique_lock<std::mutex> inner(mutex_);
      for (const auto& other : fibers_) other->turn.notify_one();
    });
  }
  draw_slow_ones();
  choose();
  for (const auto& fiber : fibers_) fiber->turn.notify_one();
  lock.unlock();
  for (const auto& fiber : fibers_) fiber->thread.join();
  return error_;
}

}  // namespace normrnn::test
