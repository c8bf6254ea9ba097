// Which target runs: chosen once, at first use.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "cpu/kernels.h"

namespace normrnn {

// The widest target that this CPU has, or the one that the environment variable NORMRNN_TARGET
// names; one that is unknown or that the CPU lacks throws std::invalid_argument.
const cpu::Target& target();
std::vector<std::string> targets_built();
std::vector<std::string> targets_usable();  // by this CPU

template <class T>
const cpu::Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>) {
    return *target().f32;
  } else {
    return *target().f64;
  }
}

// The kernels of a cell, or the plain products, for operands E.
template <class E, class Table>
const auto& with_operands(const Table& table) {
  if constexpr (cpu::kNumbersIn<E> == 1) {
    return table.same;
  } else {
    return table.bf16;
  }
}

// Index in the lists of registry.h; throws std::invalid_argument naming what there is.
template <class T>
const cpu::CellKernels<T>& cell_kernels(const std::string& name);

}  // namespace normrnn
