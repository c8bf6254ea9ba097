// NORMRNN_FN marks functions that also run on a device; empty for a host compiler.
// NORMRNN_UNROLL before a loop unrolls it on a device, so that arrays which it indexes stay in
// registers.
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
