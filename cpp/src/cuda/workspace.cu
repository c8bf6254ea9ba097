// Streams' states: memory, cuBLAS handles, graphs; and errors with names.
#include "cuda/workspace.h"

#include <cstdint>
#include <thread>
#include <tuple>

namespace normrnn::cuda {
namespace {

constexpr size_t kMostGraphs = 8;          // of one stream
constexpr int64_t kBlasMemory = 32 << 20;  // what cuBLAS asks for on Hopper

std::mutex states_lock;
// Not destroyed at exit: the driver may be gone by then.
// The default stream of a thread has the same handle in all of them.
using StreamKey = std::tuple<int, cudaStream_t, std::thread::id>;
auto& states = *new std::map<StreamKey, std::shared_ptr<StreamState>>;

// Sizes of blocks: an eighth of a power of two, so that batches of nearly the same size share them.
int64_t block_size(int64_t bytes) {
  int64_t step = 512;
  while (step * 16 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

std::string megabytes(size_t bytes) { return std::to_string((bytes + 999999) / 1000000) + " MB"; }

}  // namespace

void check(cudaError_t status, const char* call, const char* name) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw Error(std::string(call) + (name ? std::string(" of '") + name + "'" : std::string()) +
              ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

void check(cublasStatus_t status, const char* name) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  cudaGetLastError();
  throw Error(std::string("cuBLAS, '") + name + "': " + cublasGetStatusString(status));
}

void throw_out_of_memory(int device, const char* what, int64_t bytes) {
  cudaGetLastError();
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  throw OutOfMemory("device " + std::to_string(device) + ": '" + what + "' needs " +
                    megabytes(size_t(bytes)) + " of its memory, and " + megabytes(free) + " of " +
                    megabytes(total) + " are free");
}

DeviceGuard::DeviceGuard(int device) {
  const cudaError_t status = cudaGetDevice(&before_);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorNoDevice) {
    cudaGetLastError();
    throw Error(
        std::string("device: expected an NVIDIA GPU and a driver for CUDA 13, found none (") +
        cudaGetErrorString(status) + ")");
  }
  check(status, "cudaGetDevice");
  if (device == before_) {
    before_ = -1;
    return;
  }
  if (cudaSetDevice(device) != cudaSuccess) {
    cudaGetLastError();
    throw std::invalid_argument("device: expected a CUDA device from 0 to " +
                                std::to_string(device_count() - 1) + ", got " +
                                std::to_string(device));
  }
}

DeviceGuard::~DeviceGuard() {
  if (before_ >= 0) cudaSetDevice(before_);
}

std::shared_ptr<StreamState> StreamState::of(const Stream& stream) {
  const std::lock_guard<std::mutex> lock(states_lock);
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  const bool of_thread = handle == cudaStreamPerThread;
  std::shared_ptr<StreamState>& state =
      states[{stream.device, handle, of_thread ? std::this_thread::get_id() : std::thread::id()}];
  if (!state) state = std::make_shared<StreamState>(stream.device, handle);
  return state;
}

StreamState::StreamState(int device, cudaStream_t stream) : device_(device), stream_(stream) {}

StreamState::~StreamState() {
  int before = 0;
  if (cudaGetDevice(&before) != cudaSuccess || cudaSetDevice(device_) != cudaSuccess) return;
  cudaDeviceSynchronize();  // for graphs that are still at work
  for (std::vector<Graph>* list : {&graphs_, &retired_}) {
    for (const Graph& graph : *list) {
      if (graph.exec) cudaGraphExecDestroy(graph.exec);
      if (graph.done) cudaEventDestroy(graph.done);
    }
  }
  for (Lane* lane : {&lanes_[0], &lanes_[1], &recorders_[0], &recorders_[1]}) {
    if (lane->blas) cublasDestroy(lane->blas);
    if (lane->stream && lane != &lanes_[0]) cudaStreamDestroy(lane->stream);
  }
  for (const cudaEvent_t event : events_) {
    if (event) cudaEventDestroy(event);
  }
  for (void* memory : blas_memory_) cudaFree(memory);
  for (const auto& block : free_) cudaFree(block.second);
  cudaSetDevice(before);
}

Lane StreamState::make_lane(cudaStream_t stream) {
  Lane lane;
  check(cublasCreate(&lane.blas), "cublasCreate");
  void* memory = nullptr;
  try {
    lane.stream = stream;
    // A fixed workspace, for otherwise results may differ from run to run; after the stream, which
    // would reset it.
    memory = take("cuBLAS", kBlasMemory);
    blas_memory_.push_back(memory);
    check(cublasSetStream(lane.blas, stream), "cublasSetStream");
    check(cublasSetWorkspace(lane.blas, memory, size_t(kBlasMemory)), "cublasSetWorkspace");
    const int mode = CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    check(cublasSetMathMode(lane.blas, cublasMath_t(mode)), "cublasSetMathMode");
  } catch (...) {
    cublasDestroy(lane.blas);
    throw;
  }
  return lane;
}

const Lane& StreamState::lane(int i) {
  Lane& lane = lanes_[i];
  if (lane.blas) return lane;
  cudaStream_t stream = stream_;
  if (i > 0) check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return lane = make_lane(stream);
}

const Lane& StreamState::recorder(int i) {
  Lane& lane = recorders_[i];
  if (lane.blas) return lane;
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return lane = make_lane(stream);
}

cudaEvent_t StreamState::event(int i) {
  if (!events_[i]) {
    check(cudaEventCreateWithFlags(&events_[i], cudaEventDisableTiming), "cudaEventCreate");
  }
  return events_[i];
}

void* StreamState::take(const char* what, int64_t bytes) {
  const int64_t size = block_size(bytes);
  {
    const std::lock_guard<std::mutex> lock(memory_lock_);
    const auto found = free_.find(size);
    if (found != free_.end()) {
      void* memory = found->second;
      free_.erase(found);
      return memory;
    }
  }
  void* memory = nullptr;
  cudaError_t status = cudaMalloc(&memory, size_t(size));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    release_memory(device_);
    status = cudaMalloc(&memory, size_t(size));
  }
  if (status == cudaErrorMemoryAllocation) throw_out_of_memory(device_, what, size);
  check(status, "cudaMalloc", what);
  return memory;
}

void StreamState::give(void* memory, int64_t bytes) noexcept {
  const std::lock_guard<std::mutex> lock(memory_lock_);
  try {
    free_.emplace(block_size(bytes), memory);
  } catch (...) {
    cudaFree(memory);
  }
}

int64_t StreamState::release() {
  const std::lock_guard<std::mutex> lock(memory_lock_);
  int64_t bytes = 0;
  for (const auto& [size, memory] : free_) {
    cudaFree(memory);  // waits for what still uses it
    bytes += size;
  }
  free_.clear();
  return bytes;
}

bool StreamState::launch(const device::Key& key) {
  for (size_t i = graphs_.size(); i-- > 0;) {
    if (!(graphs_[i].key == key)) continue;
    Graph graph = std::move(graphs_[i]);
    graphs_.erase(graphs_.begin() + int64_t(i));
    graphs_.push_back(std::move(graph));
    launch(graphs_.back());
    return true;
  }
  return false;
}

void StreamState::launch(const Graph& graph) {
  check(cudaGraphLaunch(graph.exec, stream_), "cudaGraphLaunch");
  check(cudaEventRecord(graph.done, stream_), "cudaEventRecord");
}

void StreamState::keep(const device::Key& key, cudaGraph_t graph) {
  Graph added;
  added.key = key;
  const cudaError_t status = cudaGraphInstantiate(&added.exec, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  graphs_.push_back(std::move(added));
  check(cudaEventCreateWithFlags(&graphs_.back().done, cudaEventDisableTiming), "cudaEventCreate");
  drop_retired();
  if (graphs_.size() > kMostGraphs) {
    retired_.push_back(std::move(graphs_.front()));
    graphs_.erase(graphs_.begin());
  }
  launch(graphs_.back());
}

void StreamState::drop_retired() {
  std::erase_if(retired_, [](const Graph& graph) {
    if (cudaEventQuery(graph.done) == cudaErrorNotReady) return false;
    cudaGraphExecDestroy(graph.exec);
    cudaEventDestroy(graph.done);
    return true;
  });
}

void release_memory(int device) {
  const DeviceGuard guard(device);
  std::vector<std::shared_ptr<StreamState>> all;
  {
    const std::lock_guard<std::mutex> lock(states_lock);
    for (const auto& [key, state] : states) {
      if (std::get<int>(key) == device) all.push_back(state);
    }
  }
  for (const auto& state : all) state->release();
  // Streams come and go: what no call and no tape uses is made again when it is asked for.
  all.clear();
  const std::lock_guard<std::mutex> lock(states_lock);
  std::erase_if(states, [&](const auto& entry) {
    return std::get<int>(entry.first) == device && entry.second.use_count() == 1;
  });
}

}  // namespace normrnn::cuda
