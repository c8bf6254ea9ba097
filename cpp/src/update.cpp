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

// f(i) for every block, a stretch of neighbours at a time: memory likes to be read in order.
template <class F>
void for_blocks(const std::vector<Block>& blocks, int threads, F&& f) {
  const int64_t count = int64_t(blocks.size());
  const int64_t stretch = std::clamp<int64_t>(count / (8 * int64_t(threads)), 1, 64);
  parallel_for(threads, (count + stretch - 1) / stretch, count * kBlock / 4, [&](int64_t s) {
    for (int64_t i = s * stretch; i < std::min(count, (s + 1) * stretch); ++i) f(size_t(i));
  });
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
  const bool look_first = call.check_finite || std::isfinite(call.clip_norm);  // and refuse

  double grad_squares = 0;
  if (look_first) {
    std::vector<double> squares(blocks.size());
    for_blocks(blocks, call.threads, [&](size_t i) {
      const Block& b = blocks[i];
      squares[i] = kernel.squares(call.tensors[b.tensor].g + b.begin, b.end - b.begin);
    });
    for (const double s : squares) grad_squares += s;
  }
  UpdateResult result{};
  result.grad_norm =
      std::isfinite(grad_squares) ? std::sqrt(grad_squares) : careful_norm(call.tensors);
  result.clip_scale = result.grad_norm > call.clip_norm ? call.clip_norm / result.grad_norm : 1.0;

  std::vector<cpu::UpdateSums> sums(blocks.size());
  for_blocks(blocks, call.threads, [&](size_t i) {
    const Block& b = blocks[i];
    kernel.update(call.rule, call.tensors[b.tensor], call.rule_scalar, T(result.clip_scale),
                  b.begin, b.end, sums[i]);
  });
  cpu::UpdateSums total{};
  for (const cpu::UpdateSums& s : sums) {
    total.penalty += s.penalty;
    total.grad_squares += s.grad_squares;
    total.update_squares += s.update_squares;
    total.param_squares += s.param_squares;
  }
  result.penalty = total.penalty;
  if (!look_first) result.grad_norm = std::sqrt(total.grad_squares);
  result.update_norm = std::sqrt(total.update_squares);
  result.param_norm = std::sqrt(total.param_squares);
  return result;
}

template UpdateResult update(const UpdateCall<float>&);
template UpdateResult update(const UpdateCall<double>&);

}  // namespace normrnn
