#define NORMRNN_TARGET amx
#define NORMRNN_VECTOR_BYTES 64
#define NORMRNN_ACCUMULATORS 24
#define NORMRNN_AMX
#include "cpu/bf16-kernels-inl.h"
