// A queue (cuda/queue.h) on the host's memory, for tests: loops that do what a device does, in an
// order drawn at random where the contract leaves it open. Memory that it hands out is NaN until it
// is written, and operands of products are checked to lie in it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <random>

#include "cuda/queue.h"

namespace normrnn::test {

using device::Key;
using device::Operand;
using device::Product;
using device::Range;

// Memory from malloc, every byte 0xff: NaN in any type, and no index.
class HostArena : public device::Arena {
 public:
  void* take(const char*, int64_t bytes) override {
    void* memory = std::malloc(size_t(bytes));
    std::memset(memory, 0xff, size_t(bytes));
    blocks_[static_cast<const char*>(memory)] = bytes;
    taken += bytes;
    most = std::max(most, taken);
    return memory;
  }
  void give(void* memory, int64_t bytes) noexcept override {
    taken -= bytes;
    std::memset(memory, 0xff, size_t(bytes));
    blocks_.erase(static_cast<const char*>(memory));
    std::free(memory);
  }
  // Whether an array that begins in a block ends there, too. Other memory is the caller's.
  bool holds(const void* begin, int64_t bytes) const {
    const char* at = static_cast<const char*>(begin);
    auto after = blocks_.upper_bound(at);
    if (after == blocks_.begin()) return true;
    --after;
    const int64_t from = at - after->first;
    return from >= after->second || from + bytes <= after->second;
  }
  int64_t taken = 0, most = 0;

 private:
  std::map<const char*, int64_t> blocks_;
};

inline float rounded(float x, int bits) {  // to `bits` significant bits, ties to even
  if (!std::isfinite(x) || x == 0) return x;
  int exponent;
  const double scale = std::ldexp(1.0, bits), mantissa = std::frexp(double(x), &exponent);
  return float(std::ldexp(std::nearbyint(mantissa * scale) / scale, exponent));
}

class HostQueue {
 public:
  explicit HostQueue(uint64_t seed = 1) : rng_(seed) {}

  template <class F>
  void each(const char*, int64_t rows, int64_t columns, F f) {
    ++calls;
    for (const int64_t r : shuffled(rows)) {
      const bool back = rng_() % 2;
      for (int64_t c = 0; c < columns; ++c) f(r, back ? columns - 1 - c : c);
    }
  }

  template <class Program>
  void groups(const char*, int64_t rows, int64_t tiles, Program program) {
    ++calls;
    for (const int64_t r : shuffled(rows)) {
      for (const int64_t tile : shuffled(tiles)) one_group(program, r, tile);
    }
  }

  template <class T>
  void multiply(const Product<T>& p) {
    ++calls;
    check(p);
    if (p.m == 0 || p.n == 0) return;
    const auto a =
        values<T>(p.a, p.operand, p.a_transposed ? p.k : p.m, p.lda, p.a_transposed ? p.m : p.k);
    const auto b =
        values<T>(p.b, p.operand, p.b_transposed ? p.n : p.k, p.ldb, p.b_transposed ? p.k : p.n);
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < p.k; ++l) {
          sum += double(p.a_transposed ? a[size_t(l * p.m + i)] : a[size_t(i * p.k + l)]) *
                 double(p.b_transposed ? b[size_t(j * p.k + l)] : b[size_t(l * p.n + j)]);
        }
        T& to = p.c[i * p.ldc + j];
        to = T(p.add ? double(to) + sum : sum);
      }
    }
  }

  template <class T>
  void zero(T* to, int64_t count) {
    std::fill_n(to, count, T(0));
  }
  template <class T>
  void copy(T* to, const T* from, int64_t count) {
    std::copy_n(from, count, to);
  }
  template <class T>
  void upload(T* to, const T* from, int64_t count) {
    std::copy_n(from, count, to);
  }
  std::shared_ptr<device::Arena> arena() { return memory; }

  template <class Body>
  void side_by_side(int count, Body&& body) {
    for (const int64_t i : shuffled(count)) body(int(i), *this);
  }

  // Bodies whose keys are the same must ask for the same: the number of calls is compared.
  template <class Body>
  void repeatable(const Key& key, int64_t, Body&& body) {
    const int64_t before = calls;
    body(*this);
    const auto [found, added] = recorded_.emplace(key.bytes(), calls - before);
    if (!added && found->second != calls - before) fail("a repeatable body changed");
  }

  int64_t bodies() const { return int64_t(recorded_.size()); }  // repeatable ones that differ

  std::shared_ptr<HostArena> memory = std::make_shared<HostArena>();
  int64_t calls = 0;

 private:
  [[noreturn]] static void fail(const char* what) {
    std::printf("host queue: %s\n", what);
    std::abort();
  }

  std::vector<int64_t> shuffled(int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), rng_);
    return order;
  }

  template <class Program>
  void one_group(Program program, int64_t row, int64_t tile) {
    if constexpr (requires { program.enter(row, tile); }) program.enter(row, tile);
    device::TotalsOf<Program> totals;
    for (auto& phase : totals) std::fill(std::begin(phase), std::end(phase), std::nan(""));
    phases<0>(program, row, tile, totals);
    program.finish(row, tile, totals);
  }

  template <int kPhase, class Program>
  void phases(const Program& program, int64_t row, int64_t tile,
              device::TotalsOf<Program>& totals) {
    if constexpr (kPhase < Program::kPhases) {
      constexpr int kLanes = Program::kLanes, kSums = Program::kSums;
      static double sums[kLanes][kSums];
      std::fill(&sums[0][0], &sums[0][0] + kLanes * kSums, 0.0);
      const Range items = program.items(kPhase, row, tile);
      for (const int64_t lane : shuffled(std::min<int64_t>(kLanes, items.end - items.begin))) {
        for (int64_t i = items.begin + lane; i < items.end; i += kLanes) {
          program.item(std::integral_constant<int, kPhase>{}, row, tile, i, totals, sums[lane]);
        }
      }
      for (int half = kLanes / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; ++l) {
          for (int s = 0; s < kSums; ++s) sums[l][s] += sums[l + half][s];
        }
      }
      std::copy_n(sums[0], kSums, totals[kPhase]);
      phases<kPhase + 1>(program, row, tile, totals);
    }
  }

  template <class T>
  void check(const Product<T>& p) const {
    const auto matrix = [&](const void* at, int64_t rows, int64_t ld, int64_t columns,
                            int64_t bytes) {
      if (columns > ld) fail("a product's rows overlap");
      if (rows > 0 && !memory->holds(at, ((rows - 1) * ld + columns) * bytes)) {
        fail("a product's operand ends outside its memory");
      }
    };
    const int64_t bytes = bytes_of(p.operand, sizeof(T));
    matrix(p.a, p.a_transposed ? p.k : p.m, p.lda, p.a_transposed ? p.m : p.k, bytes);
    matrix(p.b, p.b_transposed ? p.n : p.k, p.ldb, p.b_transposed ? p.k : p.n, bytes);
    matrix(p.c, p.m, p.ldc, p.n, sizeof(T));
  }

  // A matrix without gaps, as the product sees its numbers.
  template <class T>
  static std::vector<T> values(const void* from, Operand operand, int64_t rows, int64_t ld,
                               int64_t columns) {
    std::vector<T> to;
    to.reserve(size_t(rows * columns));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) to.push_back(value<T>(from, operand, r * ld + c));
    }
    return to;
  }
  template <class T>
  static T value(const void* from, Operand operand, int64_t i) {
    if (is_short(operand)) {
      const uint16_t bits = static_cast<const uint16_t*>(from)[i];
      if (operand == Operand::kBfloat16) return T(std::bit_cast<float>(uint32_t(bits) << 16));
      return T(std::bit_cast<_Float16>(bits));
    }
    const T number = static_cast<const T*>(from)[i];
    return operand == Operand::kTf32 ? T(rounded(float(number), 11)) : number;
  }

  std::mt19937_64 rng_;
  std::map<std::string, int64_t> recorded_;
};

}  // namespace normrnn::test
