// NORMRNN_FN before a function makes it one for the host and, under nvcc, for the device; NORMRNN_UNROLL
// before a loop unrolls it there, so that arrays which it indexes stay in registers.
#pragma once

#ifndef NORMRNN_FN
#if defined(__CUDACC__)
#define NORMRNN_FN __host__ __device__
#else
#define NORMRNN_FN
#endif
#endif

#if defined(__CUDA_ARCH__)
#define NORMRNN_UNROLL _Pragma("unroll")
#else
#define NORMRNN_UNROLL
#endif
