// The persistent schedule (cpp/src/cuda/plan) with nothing between its exchanges: what a step costs
// beyond its arithmetic. With flags through L2 over a few blocks up to all SMs, and with the cluster's
// barrier and distributed shared memory; for one word a block, and for an LSTM's h_t.
//
// Every word says which it is, and the blocks count those that are wrong: none may be.
#include <cooperative_groups.h>

#include "cluster.cuh"
#include "cuda/exchange_memory.cuh"
#include "cuda/plan/persistent.h"

namespace {

namespace plan = normrnn::cuda::plan;
using normrnn::cuda::ClusterWords;
using normrnn::cuda::GlobalFlags;

constexpr int kThreads = 256;

// A block without a product: it puts `own` words, from `first` on, and takes all `words`.
struct EmptyBlock {
  int first, own, words;
  uint32_t step = 0;
  unsigned wrong = 0;

  __device__ static uint32_t expected(uint32_t step, int index) {
    return step * 2654435761u + uint32_t(index);
  }
  __device__ int rank() const { return int(threadIdx.x); }
  __device__ int threads() const { return int(blockDim.x); }
  __device__ int outgoing() const { return own; }
  __device__ int incoming() const { return words; }
  __device__ int64_t outgoing_index(int i) const { return first + i; }
  __device__ int64_t incoming_index(int i) const { return i; }
  __device__ uint32_t word(int i) const { return expected(step, first + i); }
  __device__ void accept(int i, uint32_t word) { wrong += word != expected(step, i); }
  __device__ void sync() { __syncthreads(); }
  __device__ void prefetch(int64_t) {}
  __device__ void initial() {}
  __device__ void product() {}
  __device__ void cell(int64_t t) { step = uint32_t(t); }
  __device__ void keep(int64_t) {}
};

__device__ EmptyBlock block_of(int rank, int blocks, int words) {
  const plan::Range own = plan::share(words, blocks, rank);
  return {int(own.begin), int(own.size()), words};
}

__device__ void report(const EmptyBlock& block, unsigned* wrong) {
  if (block.wrong > 0) atomicAdd(wrong, block.wrong);
}

using Flags = plan::FlagPort<GlobalFlags>;

// `words` are those of a chunk, which has slots of its own.
template <int kChunks>
__global__ void __launch_bounds__(kThreads, 1)
    with_flags(uint64_t* packets, int words, int steps, unsigned* wrong) {
  const EmptyBlock like = block_of(int(blockIdx.x), int(gridDim.x), words);
  const auto port_of = [&](int chunk) {
    return Flags(GlobalFlags{packets + chunk * Flags::places(words)}, words);
  };
  if constexpr (kChunks == 1) {
    EmptyBlock block[] = {like};
    Flags port[] = {port_of(0)};
    plan::run_forward(block, port, steps);
    report(block[0], wrong);
  } else {
    EmptyBlock block[] = {like, like};
    Flags port[] = {port_of(0), port_of(1)};
    plan::run_forward(block, port, steps);
    report(block[0], wrong);
    report(block[1], wrong);
  }
}

__global__ void __launch_bounds__(kThreads, 1) with_cluster(int words, int steps, unsigned* wrong) {
  extern __shared__ uint32_t shared[];
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  const int size = int(cluster.num_blocks());
  EmptyBlock block[1] = {block_of(int(cluster.block_rank()), size, words)};
  plan::BarrierPort<ClusterWords> port[1] = {{ClusterWords{shared, uint32_t(size)}, words}};
  plan::run_forward(block, port, steps);
  report(block[0], wrong);
}

// Every result says how many words a step takes, in how many chunks; wrong ones end the program.
void finish(const cudaDeviceProp& device, const char* what, int blocks, int words, int chunks,
            double each, unsigned* wrong) {
  unsigned count = 0;
  CUDA_CHECK(cudaMemcpy(&count, wrong, sizeof count, cudaMemcpyDeviceToHost));
  char more[96];
  std::snprintf(more, sizeof more, ", \"words\": %d, \"chunks\": %d, \"wrong\": %u", words, chunks,
                count);
  bench::print(device, what, blocks, kThreads, each, more);
  if (count > 0) {
    std::fprintf(stderr, "%s: %u words were not those that were expected\n", what, count);
    std::exit(1);
  }
}

constexpr int kSteps = 1000;

template <int kChunks>
void measure_flags(const cudaDeviceProp& device, int blocks, int words, unsigned* wrong,
                   cudaStream_t stream) {
  int of_chunk = words / kChunks;
  const size_t bytes = size_t(kChunks * Flags::places(of_chunk)) * sizeof(uint64_t);
  uint64_t* packets;
  CUDA_CHECK(cudaMalloc(&packets, bytes));
  const double each = bench::nanoseconds_of_one(stream, kSteps, [&](int steps) {
    CUDA_CHECK(cudaMemsetAsync(packets, 0, bytes, stream));
    void* arguments[] = {&packets, &of_chunk, &steps, &wrong};
    CUDA_CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(with_flags<kChunks>),
                                           dim3(unsigned(blocks)), dim3(kThreads), arguments, 0,
                                           stream));
  });
  CUDA_CHECK(cudaFree(packets));
  finish(device, "flag_exchange", blocks, words, kChunks, each, wrong);
}

}  // namespace

int main() {
  const cudaDeviceProp device = bench::device(9);
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  unsigned* wrong;
  CUDA_CHECK(cudaMalloc(&wrong, sizeof *wrong));
  CUDA_CHECK(cudaMemset(wrong, 0, sizeof *wrong));

  // One word a block and chunk, then rows x H = 4 x 768 and 16 x 768 values of 16 bits.
  for (const int blocks : {2, 8, 32, 64, device.multiProcessorCount}) {
    for (const int words : {2 * blocks, 4 * 768 / 2, 16 * 768 / 2}) {
      measure_flags<1>(device, blocks, words, wrong, stream);
      measure_flags<2>(device, blocks, words, wrong, stream);
    }
  }
  for (const int size : {2, 4, 8, 16}) {
    for (const int words : {size, 2 * 512 / 2, 8 * 512 / 2}) {
      const size_t bytes =
          size_t(plan::BarrierPort<ClusterWords>::places(words)) * sizeof(uint32_t);
      const bench::ClusterLaunch<int, int, unsigned*> launch(with_cluster, size, 1, kThreads, bytes,
                                                             stream);
      if (launch.most() == 0) continue;
      const double each = bench::nanoseconds_of_one(
          stream, kSteps, [&](int steps) { launch(words, steps, wrong); });
      finish(device, "cluster_exchange", size, words, 1, each, wrong);
    }
  }
  CUDA_CHECK(cudaFree(wrong));
  CUDA_CHECK(cudaStreamDestroy(stream));
  return 0;
}
