#define NORMRNN_NUMBER double
#include "cuda/calls.cuh"
