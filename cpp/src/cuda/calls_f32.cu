#define NORMRNN_NUMBER float
#include "cuda/calls.cuh"
