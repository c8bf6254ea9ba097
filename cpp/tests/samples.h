// Arguments to try a function of one number on.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace normrnn::test {

// Every stride-th of the 2^32 floats, by their bits.
struct SomeFloats {
  int64_t stride;
  int64_t count() const { return ((int64_t{1} << 32) + stride - 1) / stride; }
  float operator()(int64_t i) const { return std::bit_cast<float>(uint32_t(i * stride)); }
};

// Of four numbers one has any bits, one any size from 2^-64 to 2^8, and two are from [-40, 40].
struct SomeDoubles {
  int64_t total;
  int64_t count() const { return total; }
  double operator()(int64_t i) const {
    uint64_t bits = uint64_t(i) * 0x9e3779b97f4a7c15u;  // splitmix64
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    bits ^= bits >> 31;
    if (i % 4 == 0) return std::bit_cast<double>(bits);
    const double unit = double(int64_t(bits)) * 0x1p-63;  // [-1, 1]
    if (i % 4 == 1) return std::ldexp(std::copysign(1 + std::abs(unit), unit), int(bits % 72) - 64);
    return 40 * unit;
  }
};

// Where formulas change over or come to an end, each with its neighbours and both signs.
template <class T>
std::vector<T> edges() {
  using Limits = std::numeric_limits<T>;
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const double ln2 = 0.693147180559945309417;
  std::vector<T> all = {Limits::infinity(), Limits::quiet_NaN(), Limits::max()};
  std::vector<double> middles = {0, Limits::denorm_min(), double(Limits::min()), 1e-8, 0.5, 1};
  for (const double x : {9.0, 10.0, 17.0, 18.0, 19.0, 20.0, 40.0}) middles.push_back(x);
  for (const double x : {87.0, 88.0, 89.0, 104.0, 708.0, 709.0, 745.0}) middles.push_back(x);
  for (const int k : {1, 3, 5, 252, 253, 254, 255, 256, 257, 2044, 2045, 2047, 2048, 2049}) {
    middles.push_back(k * ln2 / 2);
  }
  for (const double middle : middles) {
    const auto bits = std::bit_cast<Bits>(T(middle));
    for (uint32_t i = 0; i < 2000; ++i) {
      all.push_back(std::bit_cast<T>(bits + i - (bits < 1000 ? 0 : 1000)));
    }
  }
  for (size_t i = 0, n = all.size(); i < n; ++i) all.push_back(-all[i]);
  return all;
}

}  // namespace normrnn::test
