// A GPU as the plan sees it: what its maker states, and what is assumed until bench/cuda/ has
// measured it.
#pragma once

#include <cstdint>

namespace normrnn::cuda::plan {

// Facts, which a kernel's host code asks the device for (cudaGetDeviceProperties, and
// cudaOccupancyMaxActiveClusters for the clusters). As given here: the H100 SXM.
struct Gpu {
  int64_t sms = 132;
  int64_t shared_bytes = 227 * 1024;  // that a block may have
  int64_t registers = 255;            // of a thread, and 65536 of an SM
  int64_t threads = 256;              // of a block: what we launch
  // Clusters of 1, 2, 4, 8 and 16 blocks at the same time, one block an SM. 16 is beyond the
  // portable size. GPCs of 16 or 18 SMs each are assumed here: to be asked from the device.
  int64_t clusters[5] = {132, 66, 32, 16, 8};
  double hbm_bytes = 3350;      // bytes a nanosecond, datasheet
  double tensor_flops = 989e3;  // 16-bit operands, dense, datasheet: floating-point operations a ns
  double plain_flops = 67e3;    // float32, datasheet
  double l2_bytes_held = 50e6;
};

// Assumptions, none of them measured by us so far. Source: P, of the order that has been published
// for Hopper (arXiv:2402.13499, arXiv:2501.12084: latencies of L2 and of the network between SMs,
// rates of mma and wgmma); D, documented widths of the SM; G, a guess to begin with. What
// bench/cuda/ measures is named; the others are to be fitted to the kernels' own times.
struct Assumed {
  double clock = 1.755;  // cycles a ns; D
  // Latency of an exchange, ns: from the last word put until it is taken everywhere.
  // P: a store to L2 and a load from it, some 250 cycles each, and half a round of polling;
  // "flag_exchange" with one word a block.
  double flag_latency = 700;
  // Of 1, 2, 4, 8, 16 blocks. P: some 200 cycles a way between SMs, for the words and for the
  // barrier; "cluster_exchange".
  double cluster_latency[5] = {20, 250, 250, 300, 400};
  double block_barriers = 60;   // G: the bar.sync of a step
  double cell_latency = 120;    // G: sums through shared memory, exp and tanh, one after another
  double product_latency = 80;  // G: filling and draining the pipeline of a product
  // Throughput.
  double shared_bytes = 128;  // of an SM a cycle; D
  double l2_bytes_sm = 64;    // of an SM a cycle; D
  double l2_bytes = 5500;     // of all SMs a ns; P
  double remote_bytes = 20;   // into an SM from the others of its cluster, a ns; P
  double mma = 0.62;          // of tensor_flops that mma.sync reaches; P
  double wgmma = 0.9;         // that wgmma reaches; P
  double ffma = 0.85;         // of plain_flops; G
  double functions = 16;      // ex2, rcp and their like of an SM a cycle; D
  double hbm = 0.9;           // of hbm_bytes; G
  // The general path: kernels of a step under a graph, and what a small product takes at least.
  double node = 1300;  // ns from one kernel node's start to the next one's; G; "graph_node"
  double nodes_of_step = 2;
  double product_floor = 2500;  // G: cuBLAS with few columns, beyond its node
  double gemm = 0.6;            // of tensor_flops, or ffma of plain_flops; G
  double launch = 10000;        // of a persistent kernel, or a graph; G; "launch_and_wait"
};

}  // namespace normrnn::cuda::plan
