// Streams' states: memory, cuBLAS handles, graphs; and errors with names.
#include "cuda/workspace.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <thread>
#include <tuple>

namespace normrnn::cuda {
namespace {

constexpr int64_t kBlasMemory = 32 << 20;  // what cuBLAS asks for on Hopper

std::mutex states_lock;
// Not destroyed at exit: the driver may be gone by then.
// The default stream of a thread has the same handle in all of them.
using StreamKey = std::tuple<int, cudaStream_t, std::thread::id>;
auto& states = *new std::map<StreamKey, std::shared_ptr<StreamState>>;

std::atomic<int64_t> graph_launches{0}, graph_failures{0};

std::string megabytes(size_t bytes) { return std::to_string((bytes + 999999) / 1000000) + " MB"; }

}  // namespace

void check(cudaError_t status, const char* call, const char* name) {
  if (status == cudaSuccess) return;
  if (status == cudaErrorMemoryAllocation) throw_out_of_memory(name ? name : call, 0);
  cudaGetLastError();
  throw Error(std::string(call) + (name ? std::string(" of '") + name + "'" : std::string()) +
              ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

void check(cublasStatus_t status, const char* name) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw_out_of_memory(name, 0);
  cudaGetLastError();
  throw Error(std::string("cuBLAS, '") + name + "': " + cublasGetStatusString(status));
}

void throw_out_of_memory(const char* what, int64_t bytes) {
  cudaGetLastError();
  int device = 0;
  size_t free = 0, total = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess) {
    cudaGetLastError();
  }
  throw OutOfMemory("device " + std::to_string(device) + ": '" + what + "' needs " +
                    (bytes ? megabytes(size_t(bytes)) : std::string("more")) +
                    " of its memory, and " + megabytes(free) + " of " + megabytes(total) +
                    " are free");
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

OnStream::OnStream(const Stream& stream)
    : guard(stream.device),
      handle(stream.handle == cudaStreamLegacy ? nullptr
                                               : static_cast<cudaStream_t>(stream.handle)) {
  cudaStreamCaptureStatus captured = cudaStreamCaptureStatusNone;
  const cudaError_t status = cudaStreamIsCapturing(handle, &captured);
  // Implicit: one that the default stream waits for is.
  if (captured != cudaStreamCaptureStatusNone || status == cudaErrorStreamCaptureImplicit) {
    cudaGetLastError();
    throw std::invalid_argument("stream: expected one that is not being captured, got one that is");
  }
  check(status, "cudaStreamIsCapturing");
}

cudaMemPool_t pool_of(int device) {
  static std::mutex lock;
  static auto& pools = *new std::map<int, cudaMemPool_t>;
  const std::lock_guard<std::mutex> guard(lock);
  cudaMemPool_t& pool = pools[device];
  if (pool) return pool;
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, device};
  check(cudaMemPoolCreate(&pool, &properties), "cudaMemPoolCreate");
  uint64_t kept = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept),
        "cudaMemPoolSetAttribute");
  return pool;
}

Capture::Capture(cudaStream_t stream) : stream_(stream) {
  // Relaxed: what other threads ask of CUDA is no business of this one.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
}

Capture::~Capture() {
  if (ended_) return;
  cudaGraph_t made = nullptr;
  cudaStreamEndCapture(stream_, &made);
  if (made) cudaGraphDestroy(made);
  cudaGetLastError();
}

Owned<cudaGraph_t> Capture::end() {
  ended_ = true;
  cudaGraph_t made = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream_, &made);
  Owned<cudaGraph_t> graph(made);
  check(status, "cudaStreamEndCapture");
  return graph;
}

std::shared_mutex& capturing() {
  static auto& mutex = *new std::shared_mutex;
  return mutex;
}

bool graphs_wanted() {
  static const bool wanted = [] {
    const char* text = std::getenv("NORMRNN_CUDA_GRAPHS");
    const std::string value = text && *text ? text : "1";  // empty is as good as not set
    if (value == "0" || value == "1") return value == "1";
    throw std::invalid_argument("NORMRNN_CUDA_GRAPHS: expected 0 or 1, got '" + value + "'");
  }();
  return wanted;
}

GraphCounts graph_counts() { return {graph_launches, graph_failures}; }

std::shared_ptr<StreamState> StreamState::of(int device, cudaStream_t stream) {
  const bool of_thread = stream == cudaStreamPerThread;
  const auto thread = of_thread ? std::this_thread::get_id() : std::thread::id();
  unsigned long long id = 0;
  check(cudaStreamGetId(stream, &id), "cudaStreamGetId");
  std::shared_ptr<StreamState> gone;  // before the lock, for it goes after that
  const std::lock_guard<std::mutex> lock(states_lock);
  std::shared_ptr<StreamState>& state = states[{device, stream, thread}];
  if (state && state->id_ != id) gone = std::move(state);
  if (!state) state = std::make_shared<StreamState>(device, stream, id);
  return state;
}

StreamState::StreamState(int device, cudaStream_t stream, unsigned long long id)
    : device_(device), stream_(stream), id_(id) {
  lanes_[0].stream = stream;
}

StreamState::~StreamState() {
  int before = 0;
  if (cudaGetDevice(&before) != cudaSuccess || cudaSetDevice(device_) != cudaSuccess) return;
  const Relaxed relaxed;
  const std::unique_lock<std::shared_mutex> alone(capturing());
  cudaDeviceSynchronize();  // for graphs that are still at work
  graphs_.clear();
  retired_.clear();
  for (Lane* lane : {&lanes_[0], &lanes_[1], &recorders_[0], &recorders_[1]}) {
    if (lane->blas) {
      cublasSetStream(lane->blas, nullptr);  // the caller's may be gone
      cublasDestroy(lane->blas);
    }
    if (lane->stream && lane != &lanes_[0]) cudaStreamDestroy(lane->stream);
    cudaFree(lane->memory);
  }
  for (const cudaEvent_t event : events_) {
    if (event) cudaEventDestroy(event);
  }
  free_.clear([](void* memory) { cudaFree(memory); });
  cudaSetDevice(before);
}

// Step by step: where one fails, the next call goes on from there.
const Lane& StreamState::prepare(Lane& lane) {
  if (lane.ready) return lane;
  if (!lane.stream && &lane != &lanes_[0]) {
    check(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  if (!lane.blas) check(cublasCreate(&lane.blas), "cublasCreate");
  if (!lane.memory) lane.memory = take("cuBLAS", kBlasMemory);
  const int mode = CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
  check(cublasSetMathMode(lane.blas, cublasMath_t(mode)), "cublasSetMathMode");
  warm_up(lane);
  put_on(lane, lane.stream);
  lane.ready = true;
  return lane;
}

void StreamState::put_on(const Lane& lane, cudaStream_t stream) {
  check(cublasSetStream(lane.blas, stream), "cublasSetStream");
  // A fixed workspace, for otherwise results may differ from run to run; after the stream, which
  // would reset it.
  check(cublasSetWorkspace(lane.blas, lane.memory, size_t(kBlasMemory)), "cublasSetWorkspace");
}

// A handle may finish making itself with its first product, and a capture is no place for that. On
// the caller's stream, in whose order the memory is.
void StreamState::warm_up(const Lane& lane) {
  constexpr int kSide = 32, kCount = kSide * kSide;
  constexpr int64_t kBytes = 3 * kCount * int64_t(sizeof(float));
  put_on(lane, stream_);
  auto* a = static_cast<float*>(take("cuBLAS", kBytes));
  const float one = 1, zero = 0;
  cublasStatus_t status = CUBLAS_STATUS_EXECUTION_FAILED;
  if (cudaMemsetAsync(a, 0, size_t(kBytes), stream_) == cudaSuccess) {
    status = cublasSgemm(lane.blas, CUBLAS_OP_N, CUBLAS_OP_N, kSide, kSide, kSide, &one, a, kSide,
                         a + kCount, kSide, &zero, a + 2 * kCount, kSide);
  }
  give(a, kBytes);
  check(status, "first product");
}

cudaEvent_t StreamState::event(int i) {
  if (!events_[i]) {
    check(cudaEventCreateWithFlags(&events_[i], cudaEventDisableTiming), "cudaEventCreate");
  }
  return events_[i];
}

void* StreamState::take(const char* what, int64_t bytes) {
  const int64_t size = Store::block_size(bytes);
  {
    const std::lock_guard<std::mutex> lock(memory_lock_);
    if (void* memory = free_.take(size)) {
      if (const auto late = late_.extract(memory)) {
        const cudaError_t status = cudaStreamWaitEvent(stream_, late.mapped().get());
        if (status != cudaSuccess) cudaFree(memory);
        check(status, "cudaStreamWaitEvent");
      }
      return memory;
    }
  }
  void* memory = nullptr;
  cudaError_t status = cudaMalloc(&memory, size_t(size));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    make_room(device_);
    status = cudaMalloc(&memory, size_t(size));
  }
  if (status == cudaErrorMemoryAllocation) throw_out_of_memory(what, size);
  check(status, "cudaMalloc", what);
  return memory;
}

void StreamState::give(void* memory, int64_t bytes, const Event& after) noexcept {
  const std::lock_guard<std::mutex> lock(memory_lock_);
  try {
    if (after) late_[memory] = after;
    free_.give(Store::block_size(bytes), memory);
  } catch (...) {
    late_.erase(memory);
    cudaFree(memory);
  }
}

int64_t StreamState::release() {
  const std::lock_guard<std::mutex> lock(memory_lock_);
  late_.clear();
  return free_.clear([](void* memory) { cudaFree(memory); });
}

void CudaArena::used_on(cudaStream_t stream) noexcept {
  const std::lock_guard<std::mutex> lock(lock_);
  try {
    cudaEvent_t made = nullptr;
    check(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "cudaEventCreate");
    const Event event(made, Destroy{});
    if (last_) check(cudaStreamWaitEvent(stream, last_.get()), "cudaStreamWaitEvent");
    check(cudaEventRecord(made, stream), "cudaEventRecord");
    last_ = event;
  } catch (...) {
    cudaStreamSynchronize(stream);
  }
}

bool StreamState::launch(const device::Key& key) {
  const Graph* graph = graphs_.find(key);
  if (!graph) return false;
  check(cudaGraphLaunch(graph->exec.get(), stream_), "cudaGraphLaunch");
  ++graph_launches;
  check(cudaEventRecord(graph->done.get(), stream_), "cudaEventRecord");
  return true;
}

// Without exec where that failed, and then nothing was launched.
StreamState::Graph StreamState::launched(cudaGraph_t graph) {
  if (!graph) return {};
  cudaEvent_t done = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaError_t status = cudaEventCreateWithFlags(&done, cudaEventDisableTiming);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&exec, graph, 0);
  Graph made{Owned<cudaEvent_t>(done), Owned<cudaGraphExec_t>(exec)};
  if (status == cudaSuccess) status = cudaGraphLaunch(exec, stream_);
  if (status != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  ++graph_launches;
  check(cudaEventRecord(done, stream_), "cudaEventRecord");
  return made;
}

bool StreamState::keep(const device::Key& key, int64_t calls, Owned<cudaGraph_t> graph) {
  Graph added = launched(graph.get());
  if (!added.exec) {
    ++graph_failures;
    graphs_.failed(key);
    return false;
  }
  std::erase_if(retired_, [](const Graph& one) {
    if (cudaEventQuery(one.done.get()) == cudaSuccess) return true;
    cudaGetLastError();  // not ready is an error, too, which the next launch would be blamed for
    return false;
  });
  for (Graph& one : graphs_.keep(key, calls, std::move(added))) retired_.push_back(std::move(one));
  return true;
}

void make_room(int device) {
  try {
    release_memory(device);
  } catch (const Error&) {
  }
}

void release_memory(int device) {
  // What was given back in the order of a stream is free once the host has seen it so.
  synchronize_device(device);
  const Relaxed relaxed;
  const DeviceGuard guard(device);
  std::vector<std::shared_ptr<StreamState>> all;
  {
    const std::lock_guard<std::mutex> lock(states_lock);
    for (const auto& [key, state] : states) {
      if (std::get<int>(key) == device) all.push_back(state);
    }
  }
  for (const auto& state : all) state->release();
  check(cudaMemPoolTrimTo(pool_of(device), 0), "cudaMemPoolTrimTo");
  // Streams come and go: what no call and no tape uses is made again when it is asked for.
  all.clear();
  const std::lock_guard<std::mutex> lock(states_lock);
  std::erase_if(states, [&](const auto& entry) {
    return std::get<int>(entry.first) == device && entry.second.use_count() == 1;
  });
}

}  // namespace normrnn::cuda
