#define NORMRNN_TARGET avx2
#define NORMRNN_VECTOR_BYTES 32
#define NORMRNN_ACCUMULATORS 12
#include "cpu/kernels-inl.h"
