#define NORMRNN_TARGET baseline
#define NORMRNN_VECTOR_BYTES 16
#define NORMRNN_ACCUMULATORS 12
#include "cpu/kernels-inl.h"
