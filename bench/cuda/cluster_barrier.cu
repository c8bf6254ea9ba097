// The cluster's barrier by itself, and the way from one block's shared memory to another's and back.
// Also how many clusters the device takes at once with all its shared memory given to one block an SM.
#include <cooperative_groups.h>

#include "cluster.cuh"

namespace {

__global__ void barriers(int count) {
  for (int i = 0; i < count; ++i) {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
  }
}

// Two blocks hand each other a counter: a store into the other's shared memory, and a load from one's
// own until it is there. One thread of each.
__global__ void round_trips(int count) {
  __shared__ unsigned flag;
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  const unsigned rank = cluster.block_rank();
  if (threadIdx.x == 0) flag = 0;
  cluster.sync();
  if (threadIdx.x == 0 && rank < 2) {
    const unsigned own = unsigned(__cvta_generic_to_shared(&flag));
    unsigned other;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(other) : "r"(own), "r"(1 - rank));
    for (unsigned i = 1; i <= unsigned(count); ++i) {
      const auto put = [&] {
        asm volatile("st.relaxed.cluster.shared::cluster.u32 [%0], %1;" ::"r"(other), "r"(i)
                     : "memory");
      };
      if (rank == 0) put();
      unsigned seen = 0;
      while (seen != i) {
        asm volatile("ld.relaxed.cluster.shared::cluster.u32 %0, [%1];"
                     : "=r"(seen)
                     : "r"(own)
                     : "memory");
      }
      if (rank == 1) put();
    }
  }
  cluster.sync();
}

// Loads from the other block's shared memory, each at the address that the one before gave.
__global__ void remote_loads(int count, unsigned* result) {
  __shared__ unsigned next[32];
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  if (threadIdx.x < 32) next[threadIdx.x] = (threadIdx.x + 7) % 32;
  cluster.sync();
  if (threadIdx.x == 0 && cluster.block_rank() == 0) {
    const volatile unsigned* remote = cluster.map_shared_rank(next, 1);
    unsigned at = 0;
    for (int i = 0; i < count; ++i) at = remote[at];
    *result = at;
  }
  cluster.sync();
}

}  // namespace

int main() {
  const cudaDeviceProp device = bench::device(9);
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const int size : {1, 2, 4, 8, 16}) {
    char more[64];
    const bench::ClusterLaunch<int> full(barriers, size, 1, 256, device.sharedMemPerBlockOptin,
                                         stream);
    const int most = full.most();
    std::snprintf(more, sizeof more, ", \"cluster\": %d, \"most_clusters\": %d", size, most);
    if (most == 0) {
      std::fprintf(stderr, "not run: %s has no cluster of %d such blocks\n", device.name, size);
      continue;
    }
    for (const int clusters : {1, most}) {
      const bench::ClusterLaunch<int> launch(barriers, size, clusters, 256,
                                             device.sharedMemPerBlockOptin, stream);
      bench::print(device, "cluster_barrier", size * clusters, 256,
                   bench::nanoseconds_of_one(stream, 2000, [&](int n) { launch(n); }), more);
    }
  }
  const bench::ClusterLaunch<int> trips(round_trips, 2, 1, 32, 0, stream);
  bench::print(device, "remote_store_round_trip", 2, 32,
               bench::nanoseconds_of_one(stream, 2000, [&](int n) { trips(n); }));
  unsigned* result;
  CUDA_CHECK(cudaMalloc(&result, sizeof *result));
  const bench::ClusterLaunch<int, unsigned*> loads(remote_loads, 2, 1, 32, 0, stream);
  bench::print(device, "remote_load", 2, 32,
               bench::nanoseconds_of_one(stream, 2000, [&](int n) { loads(n, result); }));
  CUDA_CHECK(cudaFree(result));
  CUDA_CHECK(cudaStreamDestroy(stream));
  return 0;
}
