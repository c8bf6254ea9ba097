// Operands in bfloat16: a plain struct, shared by all targets.
#pragma once

#include <cstdint>

namespace normrnn::cpu {

struct Bf16Pair {
  uint32_t bits;
};

// Elements of T that one operand E stands for.
template <class E>
constexpr int kNumbersIn = 1;
template <>
inline constexpr int kNumbersIn<Bf16Pair> = 2;

// Operands that `count` numbers take, side by side. Static: targets must share no code.
template <class E>
static constexpr int64_t operands_of(int64_t count) {
  return (count + kNumbersIn<E> - 1) / kNumbersIn<E>;
}

}  // namespace normrnn::cpu
