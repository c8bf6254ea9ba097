// The CUDA face for arrays of double.
#define NORMRNN_NUMBER double
#include "cuda/calls.cuh"
