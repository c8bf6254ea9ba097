// What a stream of the caller's has of ours, kept from call to call: memory that was given back,
// cuBLAS handles with their own memory, a second stream, and recorded graphs. And checks of errors.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "cuda/recordings.h"
#include "cuda/store.h"
#include "normrnn/cuda.h"

namespace normrnn::cuda {

// Throws an Error that names what failed, or OutOfMemory. The error is cleared, unless it is one
// that stays.
void check(cudaError_t status, const char* call, const char* name = nullptr);
void check(cublasStatus_t status, const char* name);

// Of the current device. bytes: 0 where it is not known how many.
[[noreturn]] void throw_out_of_memory(const char* what, int64_t bytes);

// Makes a device the current one, and the one before again in the end.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;

 private:
  int before_ = -1;
};

// What others capture, in whatever mode, is no business of our memory and handles: without this a
// capture of PyTorch's on another thread would make cudaMalloc fail here, and would end with it.
class Relaxed {
 public:
  Relaxed() { exchange(); }
  ~Relaxed() { exchange(); }
  Relaxed(const Relaxed&) = delete;

 private:
  void exchange() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Gives memory back before another try to get some. Where somebody captures, that cannot be done.
void make_room(int device);

// A stream of the caller's to work on, and its device the current one meanwhile. Refuses a stream
// that is being captured: whoever replays what was captured finds memory that others have by then.
struct OnStream {
  explicit OnStream(const Stream& stream);

  Relaxed relaxed;
  DeviceGuard guard;
  const cudaStream_t handle;  // null for the default stream, whose other name is cudaStreamLegacy
};

// Of arrays on a device. Unlike the driver's own it keeps its memory when somebody synchronises.
cudaMemPool_t pool_of(int device);

// A stream to put work on, with a cuBLAS handle for it and that one's memory.
struct Lane {
  cudaStream_t stream = nullptr;
  cublasHandle_t blas = nullptr;
  void* memory = nullptr;
  bool ready = false;
};

struct Destroy {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;
using Event = std::shared_ptr<std::remove_pointer_t<cudaEvent_t>>;

// A stream is being captured from here on, until the end or whatever comes before it.
class Capture {
 public:
  explicit Capture(cudaStream_t stream);
  ~Capture();
  Capture(const Capture&) = delete;
  Owned<cudaGraph_t> end();

 private:
  cudaStream_t stream_;
  bool ended_ = false;
};

// Our recordings hold it shared. To wait for a whole device while one is under way would fail and
// spoil it, so who waits holds it alone. Captures of other libraries know nothing of it.
std::shared_mutex& capturing();

// Whether to record graphs at all: not where NORMRNN_CUDA_GRAPHS=0 is in the environment.
bool graphs_wanted();

// One stream of the caller's on one device.
class StreamState {
 public:
  StreamState(int device, cudaStream_t stream, unsigned long long id);
  ~StreamState();
  StreamState(const StreamState&) = delete;

  // The state of a stream; made at its first use, and kept.
  static std::shared_ptr<StreamState> of(int device, cudaStream_t stream);

  int device() const { return device_; }
  cudaStream_t stream() const { return stream_; }
  const Lane& lane(int i) {
    return prepare(lanes_[i]);
  }  // 0: the caller's own stream; 1: beside it
  const Lane& recorder(int i) { return prepare(recorders_[i]); }  // to record graphs on
  cudaEvent_t event(int i);                                       // for forks and joins, 0 to 3

  // Memory in the order of the stream. Blocks given back serve later calls of about their size,
  // after an event on another stream, if there is one.
  void* take(const char* what, int64_t bytes);
  void give(void* memory, int64_t bytes, const Event& after = nullptr) noexcept;
  int64_t release();  // gives back to the driver what is not in use; returns bytes

  // Launches the graph recorded under a key, if there is one; else says whether to record one.
  bool launch(const device::Key& key);
  bool worth_recording(const device::Key& key, int64_t calls) {
    return graphs_.worth_it(key, calls);
  }
  // Launches what was recorded and keeps it; returns false if that fails, or nothing was.
  bool keep(const device::Key& key, int64_t calls, Owned<cudaGraph_t> graph);

  std::mutex in_use;  // by one call at a time

 private:
  struct Graph {
    Owned<cudaEvent_t> done;  // its last launch
    Owned<cudaGraphExec_t> exec;
  };
  // In calls of all recordings together. At a guess of a kilobyte each, 64 MB.
  static constexpr int64_t kMostRecorded = 1 << 16;

  const Lane& prepare(Lane& lane);
  void put_on(const Lane& lane, cudaStream_t stream);
  void warm_up(const Lane& lane);
  Graph launched(cudaGraph_t graph);

  const int device_;
  const cudaStream_t stream_;
  const unsigned long long id_;  // unlike a handle, of no stream that comes later
  Lane lanes_[2], recorders_[2];
  cudaEvent_t events_[4] = {};
  std::mutex memory_lock_;
  Store free_;
  std::map<void*, Event> late_;  // of free blocks
  Recordings<Graph> graphs_{kMostRecorded};
  std::vector<Graph> retired_;  // maybe still at work
};

// Memory of one call or tape, which goes back to the stream that it came from. Where others have
// worked on it, that one waits for them before it has another use for it: a training loop whose
// backward passes are on a stream of their own finds the same memory again.
class CudaArena : public device::Arena {
 public:
  explicit CudaArena(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
  void* take(const char* what, int64_t bytes) override { return state_->take(what, bytes); }
  void give(void* memory, int64_t bytes) noexcept override {
    const std::lock_guard<std::mutex> lock(lock_);
    state_->give(memory, bytes, last_);
  }
  const std::shared_ptr<StreamState>& state() const { return state_; }

  // What the stream has been asked for until now comes before another use of the memory.
  void used_on(cudaStream_t stream) noexcept;

 private:
  const std::shared_ptr<StreamState> state_;
  std::mutex lock_;  // two threads may go back through one tape
  Event last_;       // of all such streams
};

}  // namespace normrnn::cuda
