// cooperative_groups' barrier over all SMs, which the data-carried flags must beat.
#include <cooperative_groups.h>

#include "common.cuh"

namespace {

__global__ void barriers(int count) {
  const cooperative_groups::grid_group grid = cooperative_groups::this_grid();
  for (int i = 0; i < count; ++i) grid.sync();
}

}  // namespace

int main() {
  const cudaDeviceProp device = bench::device();
  if (!device.cooperativeLaunch) {
    std::fprintf(stderr, "not run: %s has no cooperative launch\n", device.name);
    return bench::kNoDevice;
  }
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const int blocks : {2, 32, device.multiProcessorCount}) {
    const double each = bench::nanoseconds_of_one(stream, 1000, [&](int n) {
      void* arguments[] = {&n};
      CUDA_CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(barriers), dim3(blocks),
                                             dim3(256), arguments, 0, stream));
    });
    bench::print(device, "grid_barrier", blocks, 256, each);
  }
  CUDA_CHECK(cudaStreamDestroy(stream));
  return 0;
}
