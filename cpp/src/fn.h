// NORMRNN_FN stands before every function that a device runs, too; for a host compiler it is nothing.
// NORMRNN_UNROLL before a loop unrolls it on a device, so that arrays which it indexes stay in registers.
#pragma once

#if defined(__CUDACC__)
#define NORMRNN_FN __host__ __device__
#else
#define NORMRNN_FN
#endif

#if defined(__CUDA_ARCH__)
#define NORMRNN_UNROLL _Pragma("unroll")
#else
#define NORMRNN_UNROLL
#endif
