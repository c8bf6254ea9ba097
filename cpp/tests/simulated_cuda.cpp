// The CUDA face over queues on the host's memory: two devices for tests of the Python package. What
// they compute, and from which memory, is what a GPU would; when, is at once. Memory that they hand
// out is NaN until it is written. The stream kClosed is one that has been destroyed, kCaptured one
// that is being captured, and kBusy one whose work never ends: that the host waits for it is an
// error. kOfThread is another one on each thread: so it is an error to read there what is in the
// order of another thread's, unless the device was waited for.
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "cuda/backward.h"
#include "cuda/update.h"
#include "host_queue.h"

namespace normrnn::cuda {
namespace {

constexpr uintptr_t kClosed = 0xdead, kCaptured = 0xcafe, kBusy = 0xb1b1, kOfThread = 2;
constexpr int64_t kBytes = int64_t(1) << 30;  // of one device

struct Block {
  int64_t bytes;
  int device;
  std::thread::id maker;  // of what it holds, where that is in the order of a thread's own stream
};
std::mutex lock;
std::map<const char*, Block>& blocks() {
  static auto* all = new std::map<const char*, Block>;  // arrays may outlive all else
  return *all;
}

bool is(const Stream& stream, uintptr_t handle) {
  return reinterpret_cast<uintptr_t>(stream.handle) == handle;
}

void use(const Stream& stream) {
  if (is(stream, kClosed)) throw Error("cudaStreamIsCapturing: context is destroyed");
  if (is(stream, kCaptured)) {
    throw std::invalid_argument("stream: expected one that is not being captured, got one that is");
  }
}

}  // namespace

bool is_built() { return true; }
int device_count() { return 2; }
std::string device_name(int) { return "simulated"; }

template <class T>
class Tape {
 public:
  std::shared_ptr<device::Arena> arena;
  std::shared_ptr<device::Tape<T>> tape;
};

template <class T>
int64_t bytes_of(const Tape<T>& tape) {
  return device::bytes_of(*tape.tape);
}

template <class T>
std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>& call, Precision precision,
                                       const Stream& stream) {
  use(stream);
  test::HostQueue queue;
  auto tape = device::forward(queue, call, precision);
  if (!tape) return nullptr;
  return std::make_shared<Tape<T>>(Tape<T>{queue.memory, std::move(tape)});
}

template <class T>
void backward(const Tape<T>& tape, const BackwardCall<T>& call, T* penalty, const Stream& stream) {
  use(stream);
  test::HostQueue queue;
  device::backward(queue, *tape.tape, call, penalty);
}

template <class T>
void update(const UpdateCall<T>& call, double* sums, const Stream& stream) {
  use(stream);
  test::HostQueue queue;
  device::update(queue, call, sums);
}

#define NORMRNN_INSTANTIATE(T)                                                       \
  template class Tape<T>;                                                            \
  template int64_t bytes_of(const Tape<T>&);                                         \
  template std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>&, Precision,  \
                                                  const Stream&);                    \
  template void backward(const Tape<T>&, const BackwardCall<T>&, T*, const Stream&); \
  template void update(const UpdateCall<T>&, double*, const Stream&);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
#undef NORMRNN_INSTANTIATE

void* allocate(int64_t bytes, const Stream& stream) {
  use(stream);
  const std::lock_guard guard(lock);
  int64_t free = kBytes;
  for (const auto& [memory, block] : blocks()) {
    if (block.device == stream.device) free -= block.bytes;
  }
  if (bytes > free) {
    throw OutOfMemory("device " + std::to_string(stream.device) + ": " + std::to_string(bytes) +
                      " bytes needed, and " + std::to_string(free) + " are free");
  }
  void* memory = std::malloc(size_t(bytes));
  if (!memory) throw std::bad_alloc();
  std::memset(memory, 0xff, size_t(bytes));
  blocks()[static_cast<const char*>(memory)] = {
      bytes, stream.device, is(stream, kOfThread) ? std::this_thread::get_id() : std::thread::id()};
  return memory;
}

void free(void* memory, const Stream&) {
  const std::lock_guard guard(lock);
  blocks().erase(static_cast<const char*>(memory));
  std::free(memory);
}

void copy(void* to, const void* from, int64_t bytes, const Stream& stream) {
  use(stream);
  {
    const std::lock_guard guard(lock);
    const auto block = blocks().find(static_cast<const char*>(from));
    if (block != blocks().end() && block->second.maker != std::thread::id() &&
        block->second.maker != std::this_thread::get_id()) {
      throw Error("cudaMemcpyAsync: of what another thread's stream may still be at");
    }
  }
  std::memcpy(to, from, size_t(bytes));
}

void synchronize(const Stream& stream) {
  use(stream);
  if (is(stream, kBusy)) throw Error("cudaStreamSynchronize: it would be for ever");
}

void synchronize_device(int device) {
  const std::lock_guard guard(lock);
  for (auto& [memory, block] : blocks()) {
    if (block.device == device) block.maker = std::thread::id();
  }
}

void wait(const Stream& stream, const Stream& before) {
  use(before);
  use(stream);
}

int device_of(const void* memory) {  // what is not ours counts as the first one's
  const std::lock_guard guard(lock);
  auto after = blocks().upper_bound(static_cast<const char*>(memory));
  if (after == blocks().begin()) return 0;
  --after;
  return static_cast<const char*>(memory) < after->first + after->second.bytes
             ? after->second.device
             : 0;
}

void release_memory(int) {}
GraphCounts graph_counts() { return {}; }  // it has no graphs

}  // namespace normrnn::cuda
