// Launching one cluster, or as many as the device takes.
#pragma once

#include "common.cuh"

namespace bench {

template <class... Parameters>
struct ClusterLaunch {
  using Kernel = void (*)(Parameters...);

  ClusterLaunch(Kernel of, int size, int clusters, int threads, size_t shared, cudaStream_t stream)
      : kernel(of) {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = unsigned(size);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    config.gridDim = dim3(unsigned(size * clusters));
    config.blockDim = dim3(unsigned(threads));
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    const void* function = reinterpret_cast<const void*>(kernel);
    CUDA_CHECK(
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
    // 16 blocks are more than every device promises.
    CUDA_CHECK(
        cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, size > 8));
  }
  ClusterLaunch(const ClusterLaunch&) = delete;
  ClusterLaunch& operator=(const ClusterLaunch&) = delete;

  // Clusters at the same time; 0 where the device has none of this size.
  int most() const {
    int clusters = 0;
    CUDA_CHECK(
        cudaOccupancyMaxActiveClusters(&clusters, reinterpret_cast<const void*>(kernel), &config));
    return clusters;
  }
  void operator()(Parameters... parameters) const {
    CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, parameters...));
  }

  Kernel kernel;
  cudaLaunchAttribute attribute{};
  cudaLaunchConfig_t config{};
};

}  // namespace bench
