#define NORMRNN_TARGET avx512bf16
#define NORMRNN_VECTOR_BYTES 64
#define NORMRNN_ACCUMULATORS 24
#include "cpu/bf16-kernels-inl.h"
