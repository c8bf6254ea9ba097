// What a stream keeps from call to call: memory in an order that repeats itself, recordings that
// pay.
#include "cuda/backward.h"
#include "cuda/forward.h"
#include "cuda/recordings.h"
#include "cuda/store.h"
#include "device_problem.h"

namespace normrnn::test {
namespace {

using cuda::Store;

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }

void check_store() {
  CHECK(Store::block_size(1) == 512);
  CHECK(Store::block_size(8192) == 8192);
  CHECK(Store::block_size(8193) == 9216);  // an eighth of 8192 more
  for (int64_t bytes = 1; bytes < 1 << 20; bytes = bytes * 9 / 8 + 1) {
    const int64_t size = Store::block_size(bytes);
    CHECK(size >= bytes && size <= std::max<int64_t>(bytes + 512, bytes * 9 / 8 + 1));
    CHECK(Store::block_size(size) == size);
  }
  Store store;
  CHECK(!store.take(512));
  for (const uintptr_t address : {0x3000, 0x1000, 0x2000}) store.give(512, at(address));
  store.give(1024, at(0x500));
  CHECK(!store.take(1536));
  CHECK(store.take(512) == at(0x1000));
  CHECK(store.take(1024) == at(0x500));
  CHECK(store.take(512) == at(0x2000));
  store.give(512, at(0x1000));
  CHECK(store.take(512) == at(0x1000));
  store.give(512, at(0x1000));
  int64_t dropped = 0;
  CHECK(store.clear([&](void* memory) {
    dropped += memory == at(0x1000) || memory == at(0x3000);
  }) == 1024);
  CHECK(dropped == 2);
  CHECK(!store.take(512));
}

device::Key key_of(int number) { return device::Key().add(number); }

// Asks for a body as a queue does; returns whether it was a recording that did it.
struct Cache {
  explicit Cache(int64_t most) : recordings(most) {}
  bool use(int number, int64_t calls) {
    if (const int* found = recordings.find(key_of(number))) {
      CHECK(*found == number);
      return true;
    }
    if (!recordings.worth_it(key_of(number), calls)) return false;
    ++made;
    for (const int one : recordings.keep(key_of(number), calls, number)) gone.push_back(one);
    return false;
  }
  cuda::Recordings<int> recordings;
  int made = 0;
  std::vector<int> gone;
};

void check_recordings() {
  Cache cache(4096);
  CHECK(!cache.use(1, 1024) && cache.made == 0);  // seen
  CHECK(!cache.use(1, 1024) && cache.made == 1);  // and recorded
  CHECK(cache.use(1, 1024) && cache.made == 1);
  for (int n = 10; n < 500; ++n) CHECK(!cache.use(n, 1024));  // none comes again
  CHECK(cache.made == 1 && cache.use(1, 1024));
  CHECK(!cache.use(2, 5000) && !cache.use(2, 5000) &&
        cache.made == 1);  // more than there is room for
  // What has not been used since makes room for what has, the longest unused first.
  for (const int n : {3, 4, 5, 3, 4, 5}) cache.use(n, 1024);
  CHECK(cache.made == 4 && cache.recordings.count() == 4 && cache.gone.empty());
  for (const int n : {6, 6}) cache.use(n, 1024);
  CHECK((cache.gone == std::vector{1}) && cache.use(6, 1024) && cache.use(3, 1024));
  // Many that come in turns: those that fit stay.
  Cache turns(4096);
  int served = 0;
  for (int round = 0; round < 10; ++round) {
    for (int n = 0; n < 6; ++n) served += turns.use(n, 1024);
  }
  CHECK(turns.made == 4 && turns.gone.empty() && served == 4 * 8);
  // What cannot be recorded is tried three times.
  Cache broken(4096);
  int tried = 0;
  const auto fails = [&] {
    if (!broken.recordings.worth_it(key_of(1), 1024)) return;
    ++tried;
    broken.recordings.failed(key_of(1));
  };
  for (int n = 0; n < 20; ++n) fails();
  CHECK(tried == 3);
  for (const int n : {2, 2, 2}) broken.use(n, 1024);
  CHECK(broken.made == 1);
  // Small ones count, too.
  Cache small(4096);
  for (int n = 0; n < 100; ++n) small.use(n, 1), small.use(n, 1);
  CHECK(small.recordings.count() == 16);
  small.recordings.clear();
  CHECK(small.recordings.count() == 0 && !small.use(99, 1));
}

// Memory as a stream's state has it.
class StoreArena : public HostArena {
 public:
  ~StoreArena() override { store_.clear(std::free); }
  void* take(const char*, int64_t bytes) override {
    const int64_t size = Store::block_size(bytes);
    void* memory = store_.take(size);
    if (!memory) memory = std::malloc(size_t(size));
    std::memset(memory, 0xff, size_t(size));
    return memory;
  }
  void give(void* memory, int64_t bytes) noexcept override {
    store_.give(Store::block_size(bytes), memory);
  }

 private:
  Store store_;
};

// A training loop asks for the same again: after its first steps no body is new, so that recordings
// serve. The tape goes before the next forward pass or, as in `tape = forward()`, after it.
void check_loop(int layers, int directions, bool tape_outlives) {
  Problem<float> problem("lstm", {3, 2, 5, 7, layers, directions}, false, {}, 1);
  HostQueue queue;
  queue.memory = std::make_shared<StoreArena>();
  auto out = poisoned(problem);
  const auto forward = problem.forward_call(out, true);
  typename Problem<float>::Backward gradients;
  const auto backward = problem.backward_call(gradients);
  float penalty;
  std::shared_ptr<device::Tape<float>> tape;
  int64_t before = 0;
  for (int step = 0; step < 12; ++step) {
    if (!tape_outlives) tape.reset();
    tape = device::forward(queue, forward, cuda::Precision::kFull);
    device::backward(queue, *tape, backward, &penalty);
    if (step == 4) before = queue.bodies();
  }
  CHECK(before >= 2 * layers);
  CHECK(queue.bodies() == before);
}

void tests() {
  check_store();
  check_recordings();
  for (const int layers : {1, 2, 4}) {
    for (const int directions : {1, 2}) {
      for (const bool tape_outlives : {false, true}) check_loop(layers, directions, tape_outlives);
    }
  }
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
