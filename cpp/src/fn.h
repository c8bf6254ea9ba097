// NORMRNN_FN stands before every function that a device runs, too; for a host compiler it is nothing.
#pragma once

#if defined(__CUDACC__)
#define NORMRNN_FN __host__ __device__
#else
#define NORMRNN_FN
#endif
