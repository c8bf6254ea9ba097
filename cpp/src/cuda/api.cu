// What of the CUDA face is no work on arrays: devices, memory, waiting.
#include "cuda/workspace.h"

namespace normrnn::cuda {

bool is_built() { return true; }

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver, or none that is new enough
  return 0;
}

std::string device_name(int device) {
  const DeviceGuard guard(device);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

void* allocate(int64_t bytes, const Stream& stream) {
  if (bytes == 0) return nullptr;
  const OnStream on(stream);
  const cudaMemPool_t pool = pool_of(stream.device);
  void* memory = nullptr;
  cudaError_t status = cudaMallocFromPoolAsync(&memory, size_t(bytes), pool, on.handle);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    make_room(stream.device);
    status = cudaMallocFromPoolAsync(&memory, size_t(bytes), pool, on.handle);
  }
  if (status == cudaErrorMemoryAllocation) throw_out_of_memory("an array", bytes);
  check(status, "cudaMallocFromPoolAsync");
  return memory;
}

void free(void* memory, const Stream& stream) {
  if (!memory) return;
  const OnStream on(stream);
  check(cudaFreeAsync(memory, on.handle), "cudaFreeAsync");
}

void copy(void* to, const void* from, int64_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  const OnStream on(stream);
  check(cudaMemcpyAsync(to, from, size_t(bytes), cudaMemcpyDefault, on.handle), "cudaMemcpyAsync");
}

void synchronize(const Stream& stream) {
  const OnStream on(stream);
  check(cudaStreamSynchronize(on.handle), "cudaStreamSynchronize");
}

void synchronize_device(int device) {
  const Relaxed relaxed;
  const DeviceGuard guard(device);
  const std::unique_lock<std::shared_mutex> alone(capturing());
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

void wait(const Stream& stream, const Stream& before) {
  const OnStream first(before);
  cudaEvent_t created = nullptr;
  check(cudaEventCreateWithFlags(&created, cudaEventDisableTiming), "cudaEventCreate");
  const Owned<cudaEvent_t> event(created);  // once destroyed it stays for as long as it is needed
  check(cudaEventRecord(created, first.handle), "cudaEventRecord");
  const OnStream then(stream);
  check(cudaStreamWaitEvent(then.handle, created), "cudaStreamWaitEvent");
}

int device_of(const void* memory) {
  cudaPointerAttributes facts;
  if (cudaPointerGetAttributes(&facts, memory) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  const bool there = facts.type == cudaMemoryTypeDevice || facts.type == cudaMemoryTypeManaged;
  return there ? facts.device : -1;
}

}  // namespace normrnn::cuda
