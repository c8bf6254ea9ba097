#include "cpu/dispatch.h"

#include <cstdlib>
#include <stdexcept>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "normrnn/registry.h"

namespace normrnn {

// The build says which there are besides baseline.
#define NORMRNN_DECLARE(name, what) \
  namespace name {                  \
  extern const cpu::what;           \
  }
NORMRNN_DECLARE(baseline, Target kTarget)
NORMRNN_DECLARE(avx2, Target kTarget)
NORMRNN_DECLARE(avx512, Target kTarget)
NORMRNN_DECLARE(avx512bf16, Bf16Kernels kBf16)
NORMRNN_DECLARE(amx, Bf16Kernels kBf16)
#undef NORMRNN_DECLARE

namespace {

struct Choice {
  const cpu::Target* target;
  bool usable;
};

// A target like `base`, but for its products of bfloat16.
struct Derived {
  std::vector<cpu::CellKernels<float>> cells;
  cpu::Kernels<float> f32;
  cpu::Target target;

  Derived(const cpu::Target& base, const cpu::Bf16Kernels& own)
      : cells(base.f32->cells, base.f32->cells + cell_names().size()),
        f32(*base.f32),
        target{own.name, &f32, base.f64} {
    for (size_t i = 0; i < cells.size(); ++i) cells[i].bf16 = own.cells[i];
    f32.cells = cells.data();
    f32.bf16 = own.products;
  }
  Derived(const Derived&) = delete;  // its parts point at each other
};

// Whether the CPU has a matrix unit for bfloat16, and the system lets this process use it: its
// registers are large, and saved for those threads only that asked.
[[maybe_unused]] bool may_use_amx() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  if ((d & kBf16) == 0 || (d & kTile) == 0) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

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
  static const Derived with_dots(avx512::kTarget, avx512bf16::kBf16);
  all.push_back({&with_dots.target, avx512 && __builtin_cpu_supports("avx512bf16")});
#endif
#if defined(NORMRNN_WITH_amx)
  static const Derived with_matrices(avx512::kTarget, amx::kBf16);
  static const bool usable = may_use_amx();
  all.push_back({&with_matrices.target, avx512 && usable});
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
