// The CUDA face for arrays of float.
#define NORMRNN_NUMBER float
#include "cuda/calls.cuh"
