#define NORMRNN_TARGET avx512bf16
#define NORMRNN_VECTOR_BYTES 64
#define NORMRNN_ACCUMULATORS 24
#include "cpu/kernels-inl.h"
