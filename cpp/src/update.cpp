// The update over all tensors: a look at the gradients, which can still refuse, then one pass. Before
// it, the norms that groups of weights need are measured where they do not lie in one task's rows.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/dispatch.h"
#include "group_solver.h"
#include "groups/groups.def"
#include "normrnn/registry.h"
#include "workspace.h"

namespace normrnn {
namespace {

constexpr int64_t kBlock = 1 << 12;     // elements; sums of blocks are added in order
constexpr double kSmallestNorm = 1e-3;  // of weights, for clip_ratio: weights of 0 may grow
constexpr int kMostRefinements = 60;

template <class Group>
constexpr GroupKind kind_of(const char* name) {
  return {name, Group::kConstraint, Group::value, Group::pull, Group::factor};
}
#define NORMRNN_GROUP(name, type) kind_of<type>(name),
constexpr GroupKind kGroupKinds[] = {
#include "groups/groups.def"
};
constexpr int kKinds = int(std::size(kGroupKinds));

// Elements [begin, end) of a tensor, or its rows where they are looked at as a matrix.
struct Block {
  int tensor;
  int64_t begin, end;
};

// f(i) for every block, a stretch of neighbours at a time: memory likes to be read in order.
template <class F>
void for_blocks(const std::vector<Block>& blocks, int threads, F&& f) {
  const int64_t count = int64_t(blocks.size());
  const int64_t stretch = std::clamp<int64_t>(count / (8 * int64_t(threads)), 1, 64);
  parallel_for(threads, (count + stretch - 1) / stretch, count * kBlock / 4, [&](int64_t s) {
    for (int64_t i = s * stretch; i < std::min(count, (s + 1) * stretch); ++i) f(size_t(i));
  });
}

void add_blocks(std::vector<Block>& blocks, int tensor, int64_t count, int64_t at_a_time) {
  for (int64_t begin = 0; begin < count; begin += at_a_time) {
    blocks.push_back({tensor, begin, std::min(count, begin + at_a_time)});
  }
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

template <class T>
class Update {
 public:
  explicit Update(const UpdateCall<T>& call)
      : call_(call), by_rows_(std::isfinite(call.clip_ratio)) {
    for (size_t i = 0; i < call.tensors.size(); ++i) {
      const UpdateTensor<T>& at = call.tensors[i];
      if (!is_matrix(at)) {
        add_blocks(blocks_, int(i), at.size, kBlock);
      } else if (at.columns > 0) {
        add_blocks(blocks_, int(i), at.rows, std::max<int64_t>(1, kBlock / at.columns));
      }
    }
  }

  UpdateResult run() {
    UpdateResult result{};
    // All that may refuse comes before anything is changed.
    const bool clips =
        by_rows_ || std::isfinite(call_.clip_norm) || std::isfinite(call_.clip_value);
    const bool look_first = call_.check_finite || clips;
    if (look_first) result.grad_norm = norm_of_gradients();
    result.clip_scale =
        result.grad_norm > call_.clip_norm ? call_.clip_norm / result.grad_norm : 1.0;
    scale_ = {call_.rule_scalar, T(result.clip_scale), T(call_.clip_value)};
    measure_groups();

    std::vector<cpu::UpdateSums> sums(blocks_.size());
    for_blocks(blocks_, call_.threads, [&](size_t i) { step(blocks_[i], sums[i]); });
    cpu::UpdateSums total{};
    for (const cpu::UpdateSums& s : sums) {
      total.penalty += s.penalty;
      total.grad_squares += s.grad_squares;
      total.update_squares += s.update_squares;
      total.param_squares += s.param_squares;
    }
    for (const auto& solver : solvers_) total.penalty += solver ? solver->value() : 0.0;
    result.penalty = total.penalty;
    if (!look_first) result.grad_norm = std::sqrt(total.grad_squares);
    // What is not clipped, or only scaled, need not be summed again; it may not even be summable.
    result.clipped_norm = by_rows_ || std::isfinite(call_.clip_value)
                              ? std::sqrt(total.grad_squares)
                              : result.grad_norm * result.clip_scale;
    result.update_norm = std::sqrt(total.update_squares);
    result.param_norm = std::sqrt(total.param_squares);
    return result;
  }

 private:
  using Solver = GroupSolver<T>;

  bool is_matrix(const UpdateTensor<T>& at) const {
    return by_rows_ || at.group_apply != Apply::kNone;
  }
  static bool across_rows(const UpdateTensor<T>& at) {
    return at.group_apply != Apply::kNone && at.axis != GroupAxis::kRows;
  }
  static bool is_prox(const UpdateTensor<T>& at) { return at.group_apply == Apply::kProx; }

  double norm_of_gradients() const {
    std::vector<Block> blocks;
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
      add_blocks(blocks, int(i), call_.tensors[i].size, kBlock);
    }
    std::vector<double> squares(blocks.size());
    for_blocks(blocks, call_.threads, [&](size_t i) {
      const Block& b = blocks[i];
      squares[i] = kernel_.squares(call_.tensors[size_t(b.tensor)].g + b.begin, b.end - b.begin);
    });
    double sum = 0;
    for (const double s : squares) sum += s;
    return std::isfinite(sum) ? std::sqrt(sum) : careful_norm(call_.tensors);
  }

  // Groups across rows have one solver for each kind and use of it, over all groups of the call.
  std::unique_ptr<Solver>& solver_of(const UpdateTensor<T>& at) {
    return solvers_[size_t(2 * at.group + (is_prox(at) ? 1 : 0))];
  }

  void measure_groups() {
    std::vector<Block> of_gradient, of_prox;
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
      const UpdateTensor<T>& at = call_.tensors[i];
      if (!across_rows(at) || at.size == 0) continue;
      auto& solver = solver_of(at);
      if (!solver) {
        solver = std::make_unique<Solver>(kGroupKinds[at.group], call_.group_strength.data(),
                                          int64_t(call_.group_strength.size()));
      }
      // Few enough blocks that their sums take less room than the weights.
      const int64_t rows = std::max(std::max<int64_t>(1, kBlock / at.columns), (at.rows + 15) / 16);
      add_blocks(is_prox(at) ? of_prox : of_gradient, int(i), at.rows, rows);
    }
    const auto squares = [&](const Block& block, Solver& to) {
      const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
      const auto [row_step, column_step] = steps_of(at.axis);
      kernel_.group_squares(at.w, at.columns, block.begin, block.end, row_step, column_step,
                            to.squares());
      return T(0);
    };
    sum_up(of_gradient, squares);
    for (size_t i = 0; i < solvers_.size(); i += 2) {
      if (solvers_[i]) solvers_[i]->take_pull();
    }
    for (size_t i = 1; i < solvers_.size(); i += 2) {
      if (!solvers_[i]) continue;
      Solver& solver = *solvers_[i];
      std::vector<Block> own;
      for (const Block& block : of_prox) {
        if (solver_of(call_.tensors[size_t(block.tensor)]).get() == &solver) own.push_back(block);
      }
      if (!needs_roots(kGroupKinds[i / 2])) {
        solver.take_factor(double(sum_up(
            own, [&](const Block& block, Solver& to) { return measure(block, to, nullptr, 0); })));
        continue;
      }
      solver.start();
      for (int n = 0; n < kMostRefinements; ++n) {
        sum_up(own, [&](const Block& block, Solver& to) {
          return measure(block, to, &solver, call_.tensors[size_t(block.tensor)].first_group);
        });
        if (solver.refine()) break;
      }
    }
  }

  // f(block, solver of its own for the sums) for all blocks, added up in order in the solvers of
  // their tensors.
  template <class F>
  T sum_up(const std::vector<Block>& blocks, F&& f) {
    std::vector<std::unique_ptr<Solver>> parts(blocks.size());
    std::vector<T> steps(blocks.size());
    parallel_for(call_.threads, int64_t(blocks.size()), int64_t(blocks.size()) * kBlock,
                 [&](int64_t i) {
                   const Block& block = blocks[size_t(i)];
                   const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
                   parts[size_t(i)] = std::make_unique<Solver>(
                       kGroupKinds[at.group], call_.group_strength.data() + at.first_group,
                       at.axis == GroupAxis::kWhole ? 1 : at.columns);
                   steps[size_t(i)] = f(block, *parts[size_t(i)]);
                 });
    for (const Block& block : blocks) solver_of(call_.tensors[size_t(block.tensor)])->clear();
    for (size_t i = 0; i < blocks.size(); ++i) {
      const UpdateTensor<T>& at = call_.tensors[size_t(blocks[i].tensor)];
      solver_of(at)->add(*parts[i], at.first_group);
    }
    return steps.empty() ? T(0) : steps.back();
  }

  // Whether a group's factor depends on the step sizes of all its weights.
  bool needs_roots(const GroupKind& kind) const {
    return !rules()[size_t(call_.rule)].uniform_step && !kind.constraint;
  }

  static std::pair<int64_t, int64_t> steps_of(GroupAxis axis) {
    return {axis == GroupAxis::kRows, axis == GroupAxis::kColumns};
  }

  // Sums up the groups after the step, over their roots so far, which are those of `roots` from
  // `first` on; null: plainly.
  T measure(const Block& block, Solver& to, const Solver* roots, int64_t first) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    std::vector<T> clip;
    cpu::UpdateRows<T> rows = rows_of(block, clip);
    if (roots) {
      rows.root = roots->root() + first;
      rows.strength = roots->strength() + first;
    }
    const cpu::GroupSums sums{to.squares(), to.over(), to.before()};
    cpu::UpdateSums none{};
    return kernel_.update_rows(call_.rule, at, scale_, rows, &sums, none);
  }

  cpu::UpdateRows<T> rows_of(const Block& block, std::vector<T>& clip) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    const auto [row_step, column_step] = steps_of(at.axis);
    cpu::UpdateRows<T> rows{block.begin, block.end, row_step, column_step, {}, {}, {}, {}, {}};
    if (by_rows_) {
      clip = clip_by_ratio(at, block);
      rows.clip = clip.data();
    }
    return rows;
  }

  // min(1, ratio ||w|| / ||g||) of each row.
  std::vector<T> clip_by_ratio(const UpdateTensor<T>& at, const Block& block) const {
    const size_t count = size_t(block.end - block.begin);
    std::vector<double> w(count), g(count);
    kernel_.group_squares(at.w, at.columns, block.begin, block.end, 1, 0, w.data());
    kernel_.group_squares(at.g, at.columns, block.begin, block.end, 1, 0, g.data());
    std::vector<T> clip(count);
    for (size_t i = 0; i < count; ++i) {
      const double most = call_.clip_ratio * std::max(std::sqrt(w[i]), kSmallestNorm);
      const double norm = std::sqrt(g[i]);
      clip[i] = T(norm > most ? most / norm : 1.0);
    }
    return clip;
  }

  void step(const Block& block, cpu::UpdateSums& sums) {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    if (!is_matrix(at)) {
      kernel_.update(call_.rule, at, scale_, block.begin, block.end, sums);
      return;
    }
    std::vector<T> clip;
    cpu::UpdateRows<T> rows = rows_of(block, clip);
    if (at.group_apply == Apply::kNone) {
      kernel_.update_rows(call_.rule, at, scale_, rows, nullptr, sums);
      return;
    }
    const GroupKind& kind = kGroupKinds[at.group];
    std::unique_ptr<Solver> own;
    const Solver* solver = nullptr;
    int64_t first = 0;
    if (across_rows(at)) {
      solver = solver_of(at).get();
      first = at.first_group;
    } else {
      own = solve_rows(block, kind);
      solver = own.get();
    }
    if (!is_prox(at)) {
      rows.pull = solver->factor() + first;
    } else if (needs_roots(kind)) {
      rows.root = solver->root() + first;
      rows.strength = solver->strength() + first;
    } else {
      rows.factor = solver->factor() + first;
    }
    kernel_.update_rows(call_.rule, at, scale_, rows, nullptr, sums);
    if (own) sums.penalty += own->value();
  }

  // Groups that are rows are solved on the spot, a few at a time: they stay in the cache.
  std::unique_ptr<Solver> solve_rows(const Block& block, const GroupKind& kind) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    auto solver = std::make_unique<Solver>(
        kind, call_.group_strength.data() + at.first_group + block.begin, block.end - block.begin);
    if (!is_prox(at)) {
      kernel_.group_squares(at.w, at.columns, block.begin, block.end, 1, 0, solver->squares());
      solver->take_pull();
      return solver;
    }
    if (!needs_roots(kind)) {
      solver->take_factor(double(measure(block, *solver, nullptr, 0)));
      return solver;
    }
    solver->start();
    for (int n = 0; n < kMostRefinements; ++n) {
      solver->clear();
      measure(block, *solver, solver.get(), 0);
      if (solver->refine()) break;
    }
    return solver;
  }

  const UpdateCall<T>& call_;
  const cpu::Kernels<T>& kernel_ = kernels<T>();
  const bool by_rows_;
  cpu::UpdateScale<T> scale_{};
  std::vector<Block> blocks_;
  std::vector<std::unique_ptr<Solver>> solvers_{size_t(2 * kKinds)};
};

}  // namespace

template <class T>
UpdateResult update(const UpdateCall<T>& call) {
  return Update<T>(call).run();
}

template UpdateResult update(const UpdateCall<float>&);
template UpdateResult update(const UpdateCall<double>&);

}  // namespace normrnn
