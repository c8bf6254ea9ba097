// What the operands of a product are: the arrays' own numbers, or these rounded to 16 bits.
#pragma once

#include "cuda/device.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace normrnn::device {

enum class Operand : int64_t {
  kSame,
  kTf32,      // float32 in memory; the product may look at 11 significant bits only
  kBfloat16,  // uint16_t
  kFloat16    // uint16_t
};

NORMRNN_FN constexpr bool is_short(Operand operand) {
  return operand == Operand::kBfloat16 || operand == Operand::kFloat16;
}
constexpr int64_t bytes_of(Operand operand, int64_t full) { return is_short(operand) ? 2 : full; }

// To nearest and even.
NORMRNN_FN inline uint16_t to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);  // NaN stays
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

NORMRNN_FN inline uint16_t to_float16(float x) {
#if defined(__CUDACC__)
  return __half_as_ushort(__float2half_rn(x));
#else
  const _Float16 half = static_cast<_Float16>(x);
  uint16_t bits;
  memcpy(&bits, &half, sizeof bits);
  return bits;
#endif
}

// Element i of an array of operands of 16 bits.
template <class T>
NORMRNN_FN void store_operand(void* array, Operand operand, int64_t i, T x) {
  static_cast<uint16_t*>(array)[i] =
      operand == Operand::kBfloat16 ? to_bfloat16(float(x)) : to_float16(float(x));
}

// Element `from` of such an array, or of T.
template <class T>
const void* operand_at(const void* array, Operand operand, int64_t from) {
  return static_cast<const char*>(array) + from * bytes_of(operand, sizeof(T));
}

}  // namespace normrnn::device
