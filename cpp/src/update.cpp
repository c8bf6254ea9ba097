// The update over all tensors: a look at the gradients, which can still refuse, then one pass.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/dispatch.h"
#include "workspace.h"

namespace normrnn {
namespace {

constexpr int64_t kBlock = 1 << 12;  // elements; sums of blocks are added in order

struct Block {
  int tensor;
  int64_t begin, end;
};

template <class T>
std::vector<Block> blocks_of(const std::vector<UpdateTensor<T>>& tensors) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < tensors.size(); ++i) {
    for (int64_t begin = 0; begin < tensors[i].size; begin += kBlock) {
      blocks.push_back({int(i), begin, std::min(tensors[i].size, begin + kBlock)});
    }
  }
  return blocks;
}

// The sum of squares was not finite: either a gradient is not, which throws, or the squares of
// float64 values overflow, and the norm is taken with a scale.
template <class T>
double careful_norm(const std::vector<UpdateTensor<T>>& tensors) {
  double largest = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    for (int64_t j = 0; j < tensors[i].size; ++j) {
      const double g = double(tensors[i].g[j]);
      if (!std::isfinite(g)) throw NonFinite(int(i), j, g);
      largest = std::max(largest, std::abs(g));
    }
  }
  double sum = 0;
  for (const UpdateTensor<T>& tensor : tensors) {
    for (int64_t j = 0; j < tensor.size; ++j) {
      const double g = double(tensor.g[j]) / largest;
      sum += g * g;
    }
  }
  return largest * std::sqrt(sum);
}

}  // namespace

template <class T>
UpdateResult update(const UpdateCall<T>& call) {
  const cpu::Kernels<T>& kernel = kernels<T>();
  const std::vector<Block> blocks = blocks_of(call.tensors);
  const int64_t count = int64_t(blocks.size());
  const int threads = int(std::min<int64_t>(call.threads, std::max<int64_t>(1, count / 4)));

  std::vector<double> squares(blocks.size());
  parallel_for(threads, count, count * kBlock, [&](int64_t i) {
    const Block& b = blocks[i];
    squares[i] = kernel.squares(call.tensors[b.tensor].g + b.begin, b.end - b.begin);
  });
  double grad_squares = 0;
  for (const double s : squares) grad_squares += s;

  UpdateResult result{};
  result.grad_norm =
      std::isfinite(grad_squares) ? std::sqrt(grad_squares) : careful_norm(call.tensors);
  result.clip_scale = result.grad_norm > call.clip_norm ? call.clip_norm / result.grad_norm : 1.0;

  std::vector<cpu::UpdateSums> sums(blocks.size());
  parallel_for(threads, count, count * kBlock, [&](int64_t i) {
    const Block& b = blocks[i];
    kernel.update(call.rule, call.tensors[b.tensor], call.rule_scalar, T(result.clip_scale),
                  b.begin, b.end, sums[i]);
  });
  double update_squares = 0, param_squares = 0;
  for (const cpu::UpdateSums& s : sums) {
    result.penalty += s.penalty;
    update_squares += s.update_squares;
    param_squares += s.param_squares;
  }
  result.update_norm = std::sqrt(update_squares);
  result.param_norm = std::sqrt(param_squares);
  return result;
}

template UpdateResult update(const UpdateCall<float>&);
template UpdateResult update(const UpdateCall<double>&);

}  // namespace normrnn
