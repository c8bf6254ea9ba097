// What a stream of the caller's has of ours, kept from call to call: memory that was given back,
// cuBLAS handles with their own memory, a second stream, and recorded graphs. And checks of errors.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/queue.h"
#include "normrnn/cuda.h"

namespace normrnn::cuda {

// Throws an Error that names what failed. The error is cleared, unless it is one that stays.
void check(cudaError_t status, const char* call, const char* name = nullptr);
void check(cublasStatus_t status, const char* name);

[[noreturn]] void throw_out_of_memory(int device, const char* what, int64_t bytes);

// Makes a device the current one, and the one before again in the end.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;

 private:
  int before_ = -1;
};

// A stream to put work on, with a cuBLAS handle for it.
struct Lane {
  cudaStream_t stream = nullptr;
  cublasHandle_t blas = nullptr;
};

// One stream of the caller's on one device.
class StreamState {
 public:
  StreamState(int device, cudaStream_t stream);
  ~StreamState();
  StreamState(const StreamState&) = delete;

  // The state of a stream; made at its first use, and kept.
  static std::shared_ptr<StreamState> of(const Stream& stream);

  int device() const { return device_; }
  cudaStream_t stream() const { return stream_; }
  const Lane& lane(int i);      // 0: the caller's own stream; 1: beside it
  const Lane& recorder(int i);  // streams of ours, to record graphs on
  cudaEvent_t event(int i);     // for forks and joins, 0 to 3

  // Memory in the order of the stream. Blocks given back serve later calls of about their size.
  void* take(const char* what, int64_t bytes);
  void give(void* memory, int64_t bytes) noexcept;
  int64_t release();  // gives back to the driver what is not in use; returns bytes

  // Launches the graph recorded under a key, if there is one.
  bool launch(const device::Key& key);
  void keep(const device::Key& key, cudaGraph_t graph);  // takes the graph

  std::mutex in_use;  // by one call at a time

 private:
  struct Graph {
    device::Key key;
    cudaGraphExec_t exec = nullptr;
    cudaEvent_t done = nullptr;  // its last launch
  };
  Lane make_lane(cudaStream_t stream);
  void launch(const Graph& graph);
  void drop_retired();

  const int device_;
  const cudaStream_t stream_;
  Lane lanes_[2], recorders_[2];
  cudaEvent_t events_[4] = {};
  std::vector<void*> blas_memory_;
  std::mutex memory_lock_;
  std::multimap<int64_t, void*> free_;  // by size
  std::vector<Graph> graphs_;           // the last one used comes last
  std::vector<Graph> retired_;          // maybe still at work
};

// Memory of one call or tape. A tape follows its passes from stream to stream: what is given back
// is then in the order of the last one.
class CudaArena : public device::Arena {
 public:
  explicit CudaArena(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
  void* take(const char* what, int64_t bytes) override { return state()->take(what, bytes); }
  void give(void* memory, int64_t bytes) noexcept override { state()->give(memory, bytes); }
  void move_to(std::shared_ptr<StreamState> state) {
    const std::lock_guard<std::mutex> lock(lock_);
    state_.swap(state);
  }
  std::shared_ptr<StreamState> state() const {
    const std::lock_guard<std::mutex> lock(lock_);
    return state_;
  }

 private:
  mutable std::mutex lock_;  // two threads may go back through one tape
  std::shared_ptr<StreamState> state_;
};

}  // namespace normrnn::cuda
