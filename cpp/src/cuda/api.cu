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
  const DeviceGuard guard(stream.device);
  const auto on = static_cast<cudaStream_t>(stream.handle);
  void* memory = nullptr;
  cudaError_t status = cudaMallocAsync(&memory, size_t(bytes), on);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    release_memory(stream.device);
    status = cudaMallocAsync(&memory, size_t(bytes), on);
  }
  if (status == cudaErrorMemoryAllocation) throw_out_of_memory(stream.device, "an array", bytes);
  check(status, "cudaMallocAsync");
  return memory;
}

void free(void* memory, const Stream& stream) {
  if (!memory) return;
  const DeviceGuard guard(stream.device);
  check(cudaFreeAsync(memory, static_cast<cudaStream_t>(stream.handle)), "cudaFreeAsync");
}

void copy(void* to, const void* from, int64_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  const DeviceGuard guard(stream.device);
  check(cudaMemcpyAsync(to, from, size_t(bytes), cudaMemcpyDefault,
                        static_cast<cudaStream_t>(stream.handle)),
        "cudaMemcpyAsync");
}

void synchronize(const Stream& stream) {
  const DeviceGuard guard(stream.device);
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream.handle)), "cudaStreamSynchronize");
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
