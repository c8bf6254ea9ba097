#include "cpu/dispatch.h"

#include <cstdlib>
#include <stdexcept>

#include "normrnn/registry.h"

namespace normrnn {

// The build says which there are besides baseline.
#define NORMRNN_DECLARE(name)       \
  namespace name {                  \
  extern const cpu::Target kTarget; \
  }
NORMRNN_DECLARE(baseline)
NORMRNN_DECLARE(avx2)
NORMRNN_DECLARE(avx512)
NORMRNN_DECLARE(avx512bf16)
#undef NORMRNN_DECLARE

namespace {

struct Choice {
  const cpu::Target* target;
  bool usable;
};

// Narrowest first.
std::vector<Choice> choices() {
  std::vector<Choice> all = {{&baseline::kTarget, true}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  [[maybe_unused]] const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if defined(NORMRNN_WITH_avx2)
  all.push_back({&avx2::kTarget, avx2});
#endif
  [[maybe_unused]] const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#if defined(NORMRNN_WITH_avx512)
  all.push_back({&avx512::kTarget, avx512});
#endif
#if defined(NORMRNN_WITH_avx512bf16)
  all.push_back({&avx512bf16::kTarget, avx512 && __builtin_cpu_supports("avx512bf16")});
#endif
#endif
  return all;
}

std::vector<std::string> names(bool usable_only) {
  std::vector<std::string> list;
  for (const Choice& choice : choices()) {
    if (choice.usable || !usable_only) list.push_back(choice.target->name);
  }
  return list;
}

const cpu::Target* choose() {
  const char* cap = std::getenv("NORMRNN_TARGET");
  if (cap && !*cap) cap = nullptr;  // empty is as good as not set
  const cpu::Target* best = nullptr;
  for (const Choice& choice : choices()) {
    if (!choice.usable) continue;
    best = choice.target;
    if (cap && std::string(cap) == best->name) return best;
  }
  if (cap) {
    throw std::invalid_argument("NORMRNN_TARGET: expected one of " + joined(names(true)) +
                                ", which this CPU has, got '" + cap + "'");
  }
  return best;
}

}  // namespace

std::vector<std::string> targets_built() { return names(false); }
std::vector<std::string> targets_usable() { return names(true); }

const cpu::Target& target() {
  static const cpu::Target* chosen = choose();
  return *chosen;
}

template <class T>
const cpu::CellKernels<T>& cell_kernels(const std::string& name) {
  return kernels<T>().cells[index_of("cell", cell_names(), name)];
}

template const cpu::CellKernels<float>& cell_kernels<float>(const std::string&);
template const cpu::CellKernels<double>& cell_kernels<double>(const std::string&);

}  // namespace normrnn
