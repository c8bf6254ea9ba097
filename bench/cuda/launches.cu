// What it costs to begin: an empty kernel launched and waited for, launched behind another, and as a
// node of a graph behind another, as the general path's steps are.
#include <chrono>

#include "common.cuh"

namespace {

__global__ void empty() {}

constexpr int kMany = 500;

// On the host's clock: launch one and wait.
double launch_and_wait(cudaStream_t stream, int blocks) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> each;
  for (int run = -10; run < 20 * bench::kRuns; ++run) {
    const Clock::time_point start = Clock::now();
    empty<<<blocks, 256, 0, stream>>>();
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaStreamSynchronize(stream));
    const std::chrono::duration<double, std::nano> time = Clock::now() - start;
    if (run >= 0) each.push_back(time.count());
  }
  return bench::median(each);
}

cudaGraphExec_t chain(cudaStream_t stream, int nodes, int blocks) {
  cudaGraph_t graph;
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < nodes; ++i) empty<<<blocks, 256, 0, stream>>>();
  CUDA_CHECK(cudaGetLastError());
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t executable;
  CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  return executable;
}

}  // namespace

int main() {
  const cudaDeviceProp device = bench::device();
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const int sizes[] = {1, device.multiProcessorCount};
  for (const int blocks : sizes) {
    bench::print(device, "launch_and_wait", blocks, 256, launch_and_wait(stream, blocks));
    const double behind = bench::nanoseconds_of_one(stream, kMany, [&](int n) {
      for (int i = 0; i < n; ++i) empty<<<blocks, 256, 0, stream>>>();
    });
    bench::print(device, "launch_behind_another", blocks, 256, behind);
    const cudaGraphExec_t graphs[] = {chain(stream, kMany, blocks),
                                      chain(stream, 2 * kMany, blocks)};
    const double node = bench::nanoseconds_of_one(
        stream, kMany, [&](int n) { CUDA_CHECK(cudaGraphLaunch(graphs[n > kMany], stream)); });
    bench::print(device, "graph_node", blocks, 256, node);
    for (const cudaGraphExec_t graph : graphs) CUDA_CHECK(cudaGraphExecDestroy(graph));
  }
  CUDA_CHECK(cudaStreamDestroy(stream));
  return 0;
}
