#include "packing.h"

namespace normrnn {

template <class T, class E>
PackedForward<T, E> pack_direction(const cpu::CellKernels<T>& cell, const Weights<T>& w,
                                   const Shape& shape, int layer, int threads) {
  const cpu::LayerKernels<T, E>& kernel = with_operands<E>(cell);
  const int64_t hidden = shape.hidden, panels = panels_of(hidden, cell.panel_units);
  const int64_t width = cell.panel_units * cell.gates;
  const int segments = layer ? shape.directions : 1;
  const int64_t k = layer ? hidden : shape.input, ld = k * segments;  // columns of weight_ih
  PackedForward<T, E> packed;
  for (int s = 0; s < segments; ++s) {
    packed.input[s] = Buffer<E>(product(panels, width, cpu::operands_of<E>(k)));
  }
  if (!cell.diagonal) {
    packed.recurrent = Buffer<E>(product(panels, width, cpu::operands_of<E>(hidden)));
  }
  packed.bias = Buffer<T>(panels * cell.panel_units * (cell.gates + cell.split));
  cell.pack_bias(w.b_ih, w.b_hh, hidden, packed.bias.get());
  parallel_for(threads, panels, panels * width * (ld + hidden), [&](int64_t p) {
    for (int s = 0; s < segments; ++s) {
      kernel.pack_input(w.ih + s * k, ld, k, hidden, p, p + 1, packed.input[s].get());
    }
    if (cell.diagonal) return;
    kernel.pack_recurrent(w.hh, hidden, hidden, hidden, p, p + 1, packed.recurrent.get());
  });
  return packed;
}

template <class T>
std::shared_ptr<const PackedWeights<T>> pack_weights(const std::string& cell, const Shape& shape,
                                                     const std::vector<Weights<T>>& weights,
                                                     bool bf16, int threads) {
  const cpu::CellKernels<T>& kernel = cell_kernels<T>(cell);
  auto packed = std::make_shared<PackedWeights<T>>();
  for (size_t i = 0; i < weights.size(); ++i) {
    const int layer = int(i) / shape.directions;
    if constexpr (sizeof(T) == 4) {
      if (bf16) {
        packed->bf16.push_back(
            pack_direction<T, cpu::Bf16Pair>(kernel, weights[i], shape, layer, threads));
        continue;
      }
    }
    packed->same.push_back(pack_direction<T, T>(kernel, weights[i], shape, layer, threads));
  }
  return packed;
}

#define NORMRNN_INSTANTIATE(T, E)                                                            \
  template PackedForward<T, E> pack_direction(const cpu::CellKernels<T>&, const Weights<T>&, \
                                              const Shape&, int, int);
NORMRNN_INSTANTIATE(float, float)
NORMRNN_INSTANTIATE(double, double)
NORMRNN_INSTANTIATE(float, cpu::Bf16Pair)
#undef NORMRNN_INSTANTIATE

template std::shared_ptr<const PackedWeights<float>> pack_weights(
    const std::string&, const Shape&, const std::vector<Weights<float>>&, bool, int);
template std::shared_ptr<const PackedWeights<double>> pack_weights(
    const std::string&, const Shape&, const std::vector<Weights<double>>&, bool, int);

}  // namespace normrnn
