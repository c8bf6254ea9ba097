// The kernels under a CUDA queue: a function for each row and column, and programs of groups of
// lanes.
#pragma once

#include "cuda/queue.h"

namespace normrnn::cuda {

using device::Range;

constexpr int kThreads = 256;  // of a block
// At least, on a multiprocessor: says that 128 registers are fine. Left to itself the compiler
// spills a few for the sake of more.
constexpr int kBlocksEach = 2;
constexpr int64_t kMostRows = 65535;  // of a grid

template <class F>
__global__ void __launch_bounds__(kThreads, kBlocksEach)
    each_kernel(const __grid_constant__ F f, int64_t rows, int64_t columns) {
  const int64_t column = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  for (int64_t row = int64_t(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += int64_t(gridDim.y) * blockDim.y) {
    f(row, column);
  }
}

// The sums of all lanes of a group, by halves, in every lane.
template <int kLanes, int kSums>
__device__ __forceinline__ void sum_up(double (&sum)[kSums], double* shared) {
  if constexpr (kLanes == kThreads) {
    const int lane = int(threadIdx.x);
    for (int s = 0; s < kSums; ++s) shared[s * kLanes + lane] = sum[s];
    __syncthreads();
    for (int half = kLanes / 2; half >= 32; half /= 2) {
      if (lane < half) {
        for (int s = 0; s < kSums; ++s) {
          shared[s * kLanes + lane] += shared[s * kLanes + lane + half];
        }
      }
      __syncthreads();
    }
    if (lane < 32) {
      for (int s = 0; s < kSums; ++s) {
        double all = shared[s * kLanes + lane];
        for (int half = 16; half > 0; half /= 2) all += __shfl_down_sync(~0u, all, half);
        if (lane == 0) shared[s * kLanes] = all;
      }
    }
    __syncthreads();
    for (int s = 0; s < kSums; ++s) sum[s] = shared[s * kLanes];
    __syncthreads();  // before the next phase writes there
  } else {
    static_assert(kLanes == 32);
    for (int s = 0; s < kSums; ++s) {
      for (int half = 16; half > 0; half /= 2) sum[s] += __shfl_down_sync(~0u, sum[s], half);
      sum[s] = __shfl_sync(~0u, sum[s], 0);
    }
    __syncwarp();  // what was written is seen by the others
  }
}

template <int kPhase, class Program>
__device__ __forceinline__ void run_phases(const Program& program, int64_t row, int64_t tile,
                                           int lane, double* shared,
                                           device::TotalsOf<Program>& totals) {
  if constexpr (kPhase < Program::kPhases) {
    const Range items = program.items(kPhase, row, tile);
    double sum[Program::kSums] = {};
    for (int64_t i = items.begin + lane; i < items.end; i += Program::kLanes) {
      program.item(std::integral_constant<int, kPhase>{}, row, tile, i, totals, sum);
    }
    sum_up<Program::kLanes, Program::kSums>(sum, shared);
    for (int s = 0; s < Program::kSums; ++s) totals[kPhase][s] = sum[s];
    run_phases<kPhase + 1>(program, row, tile, lane, shared, totals);
  }
}

// Groups of 256 lanes are blocks of one row of threads; those of 32 are rows of a block, `across`
// of them for neighbouring tiles and the others for neighbouring rows.
template <class Program>
__global__ void __launch_bounds__(kThreads, kBlocksEach)
    groups_kernel(const __grid_constant__ Program program, int64_t rows, int64_t tiles,
                  int across) {
  constexpr int kLanes = Program::kLanes;
  __shared__ double shared[kLanes == kThreads ? kLanes * Program::kSums : 1];
  const int lane = int(threadIdx.x), group = int(threadIdx.y);
  const int64_t tile = int64_t(blockIdx.x) * across + group % across;
  const int64_t at_once = int64_t(blockDim.y) / across;
  if (tile >= tiles) return;  // all lanes of a group
  for (int64_t row = int64_t(blockIdx.y) * at_once + group / across; row < rows;
       row += int64_t(gridDim.y) * at_once) {
    device::TotalsOf<Program> totals;
    if constexpr (requires(Program own) { own.enter(row, tile); }) {
      Program own = program;
      own.enter(row, tile);
      run_phases<0>(own, row, tile, lane, shared, totals);
      if (lane == 0) own.finish(row, tile, totals);
    } else {
      run_phases<0>(program, row, tile, lane, shared, totals);
      if (lane == 0) program.finish(row, tile, totals);
    }
  }
}

// Kernels' arguments are copied when they are launched: a way to the device that waits for nothing.
struct Payload {
  static constexpr int64_t kBytes = 3840;  // with the others below the 4 KiB that all devices take
  unsigned char bytes[kBytes];
};
static __global__ void upload_kernel(const __grid_constant__ Payload payload, unsigned char* to,
                                     int count) {
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) to[i] = payload.bytes[i];
}

}  // namespace normrnn::cuda
