// NORMRNN_FN before a function makes it one for the host and, under nvcc, for the device.
#pragma once

#ifndef NORMRNN_FN
#if defined(__CUDACC__)
#define NORMRNN_FN __host__ __device__
#else
#define NORMRNN_FN
#endif
#endif
