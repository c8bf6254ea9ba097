// The update over all tensors: a look at the gradients, which can still refuse, then one pass.
// Groups that do not lie in one task's rows are measured, and for a prox their steps taken, before
// it.
//
// One file of over 400 lines, for its parts share one object: the call, its blocks and solvers.
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
constexpr int64_t kRowBlock = 1 << 14;  // of a matrix, whose rows are solved together
constexpr int64_t kAhead = 1 << 10;     // elements that memory is read ahead by: a page of float32
constexpr double kCached = 1 << 20;     // bytes of each core's that need not be
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

// f(i) for every block, a stretch of neighbours at a time: memory likes to be read in order. `work`
// is in additions.
template <class F>
void for_blocks(const std::vector<Block>& blocks, int threads, double work, F&& f) {
  const int64_t count = int64_t(blocks.size());
  const int64_t stretch = std::clamp<int64_t>(count / (8 * int64_t(threads)), 1, 64);
  parallel_for(threads, (count + stretch - 1) / stretch, int64_t(work), [&](int64_t s) {
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
      size_ += double(at.size);
      if (!is_matrix(at)) {
        add_blocks(blocks_, int(i), at.size, kBlock);
      } else if (at.columns > 0) {
        add_blocks(blocks_, int(i), at.rows, std::max<int64_t>(1, kRowBlock / at.columns));
      }
    }
  }

  UpdateResult run() {
    UpdateResult result{};
    // All that may refuse comes before anything is changed: a look at the gradients, threads that
    // cannot be started, and memory that is not there, but for what a block of rows takes.
    const bool clips_parts = by_rows_ || std::isfinite(call_.clip_value);
    const bool look_first = call_.check_finite || clips_parts || std::isfinite(call_.clip_norm);
    if (look_first) result.grad_norm = norm_of_gradients();
    result.clip_scale =
        result.grad_norm > call_.clip_norm ? call_.clip_norm / result.grad_norm : 1.0;
    const bool clips = clips_parts || result.clip_scale != 1;
    const bool sum_gradients = !look_first || clips_parts;
    const int slots = rules()[size_t(call_.rule)].slots;
    const double bytes = size_ * double(sizeof(T)) * (2 + slots);
    const int64_t ahead = bytes > kCached * call_.threads ? kAhead : 0;
    scale_ = {
        call_.rule_scalar, T(result.clip_scale), T(call_.clip_value), clips, sum_gradients, ahead};

    std::vector<cpu::UpdateSums> sums(blocks_.size());
    const double work = (3 + 2 * slots) * size_;
    prepare_team(workers_for_additions(int64_t(work), call_.threads));
    cpu::UpdateSums total = groups_across_rows();
    for_blocks(blocks_, call_.threads, work, [&](size_t i) { step(blocks_[i], sums[i]); });
    for (const cpu::UpdateSums& s : sums) add(s, total);
    result.penalty = total.penalty;
    if (!look_first) result.grad_norm = std::sqrt(total.grad_squares);
    // What is not clipped, or only scaled, need not be summed again; it may not even be summable.
    result.clipped_norm =
        clips_parts ? std::sqrt(total.grad_squares) : result.grad_norm * result.clip_scale;
    result.update_norm = std::sqrt(total.update_squares);
    result.param_norm = std::sqrt(total.param_squares);
    return result;
  }

 private:
  using Solver = GroupSolver<T>;

  // What a prox that needs roots keeps of the step before it.
  struct Kept {
    Kept() = default;
    explicit Kept(int64_t count) : w(count), step_size(count) {}
    cpu::StepKeep<T> from(int64_t first) {
      if (!w.get()) return {};
      return {w.get() + first, step_size.get() + first};
    }
    Buffer<T> w, step_size;
  };

  static void add(const cpu::UpdateSums& from, cpu::UpdateSums& to) {
    to.penalty += from.penalty;
    to.grad_squares += from.grad_squares;
    to.update_squares += from.update_squares;
    to.param_squares += from.param_squares;
  }

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
    for_blocks(blocks, call_.threads, size_ / 2, [&](size_t i) {
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

  // Solves the groups across rows; a prox's steps are taken for it.
  cpu::UpdateSums groups_across_rows() {
    cpu::UpdateSums total{};
    std::vector<Block> of_gradient, of_prox;
    kept_.resize(call_.tensors.size());
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
      const UpdateTensor<T>& at = call_.tensors[i];
      if (at.size == 0) continue;
      const bool keeps = across_rows(at) || at.columns > kRowBlock;
      if (keeps && is_prox(at) && needs_roots(at)) kept_[i] = Kept(at.size);
      if (!across_rows(at)) continue;
      auto& solver = solver_of(at);
      if (!solver) {
        solver = std::make_unique<Solver>(kGroupKinds[at.group], call_.group_strength.data(),
                                          int64_t(call_.group_strength.size()));
      }
      // Few enough blocks that their sums take less room than the weights.
      const int64_t rows = std::max(std::max<int64_t>(1, kBlock / at.columns), (at.rows + 15) / 16);
      add_blocks(is_prox(at) ? of_prox : of_gradient, int(i), at.rows, rows);
    }
    Parts gradient_parts = parts_of(of_gradient), prox_parts = parts_of(of_prox);
    sum_up(of_gradient, gradient_parts, [&](size_t i, GroupTotals& to) {
      const Block& block = of_gradient[i];
      const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
      kernel_.group_squares(at.w, rows_of(block), T(1), to.before.data());
    });
    measure_large(of_gradient, &GroupTotals::before, &Solver::scaled_before);
    std::vector<cpu::UpdateSums> sums(of_prox.size());
    std::vector<T> step_size(of_prox.size());
    prepare_team(workers_for_additions(int64_t(of_prox.size()) * kBlock, call_.threads));
    // From here on weights change.
    sum_up(of_prox, prox_parts, [&](size_t i, GroupTotals& to) {
      step_size[i] = take_step(of_prox[i], to, keep_of(of_prox[i]), sums[i]);
    });
    measure_large(of_prox, &GroupTotals::after, &Solver::scaled_after);
    for (const cpu::UpdateSums& s : sums) add(s, total);
    for (size_t i = 0; i < solvers_.size(); ++i) {
      if (!solvers_[i]) continue;
      Solver& solver = *solvers_[i];
      total.penalty += solver.value();
      if (i % 2 == 0) {
        solver.take_pull();
      } else if (!needs_roots(kGroupKinds[i / 2])) {
        solver.take_factor(double(step_size.back()));
        solver.add_norms(total);
      } else {
        find_roots(solver, [&] {
          sum_up(of_prox, prox_parts, [&](size_t j, GroupTotals& to) {
            to.clear();
            const UpdateTensor<T>& at = call_.tensors[size_t(of_prox[j].tensor)];
            if (solver_of(at).get() != &solver) return;
            add_root_sums(of_prox[j], solver, at.first_group, keep_of(of_prox[j]), to);
          });
        });
      }
    }
    return total;
  }

  // What each block sums up to.
  using Parts = std::vector<GroupTotals>;
  Parts parts_of(const std::vector<Block>& blocks) const {
    Parts parts;
    parts.reserve(blocks.size());
    for (const Block& block : blocks) {
      const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
      parts.emplace_back(at.axis == GroupAxis::kWhole ? 1 : at.columns);
    }
    return parts;
  }

  // f(i, the i-th part) for all blocks, added up in order in the solvers of their tensors.
  template <class F>
  void sum_up(const std::vector<Block>& blocks, Parts& parts, F&& f) {
    parallel_for(call_.threads, int64_t(blocks.size()), int64_t(blocks.size()) * kBlock,
                 [&](int64_t i) { f(size_t(i), parts[size_t(i)]); });
    for (size_t i = 0; i < blocks.size(); ++i) {
      const UpdateTensor<T>& at = call_.tensors[size_t(blocks[i].tensor)];
      solver_of(at)->totals.add(parts[i], at.first_group);
    }
  }

  // Where squares of groups are not finite, those of the weights as they are times kGroupScale.
  void measure_large(const std::vector<Block>& blocks, std::vector<double> GroupTotals::* squares,
                     std::vector<double> Solver::* scaled) {
    for (const Block& block : blocks) {
      const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
      measure_large(block, *solver_of(at), at.first_group, squares, scaled);
    }
  }
  void measure_large(const Block& block, Solver& solver, int64_t first,
                     std::vector<double> GroupTotals::* squares,
                     std::vector<double> Solver::* scaled) const {
    if (all_finite(solver.totals.*squares)) return;
    (solver.*scaled).resize(size_t(solver.count()));
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    kernel_.group_squares(at.w, rows_of(block), T(kGroupScale), (solver.*scaled).data() + first);
  }

  // add_sums() adds what Newton's method needs at the roots so far.
  template <class F>
  void find_roots(Solver& solver, F&& add_sums) const {
    solver.start();
    for (int n = 0; n < kMostRefinements; ++n) {
      add_sums();
      if (solver.refine()) return;
    }
  }

  // Whether a group's factor depends on the step sizes of all its weights.
  bool needs_roots(const GroupKind& kind) const {
    return !rules()[size_t(call_.rule)].uniform_step && !kind.constraint;
  }
  bool needs_roots(const UpdateTensor<T>& at) const { return needs_roots(kGroupKinds[at.group]); }

  cpu::GroupRows rows_of(const Block& block) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    return {at.columns, block.begin, block.end, at.axis == GroupAxis::kRows,
            at.axis == GroupAxis::kColumns};
  }

  cpu::StepKeep<T> keep_of(const Block& block) {
    return kept_[size_t(block.tensor)].from(block.begin *
                                            call_.tensors[size_t(block.tensor)].columns);
  }

  // The step of rows whose groups have a prox, without it. Returns the last weight's step size.
  T take_step(const Block& block, GroupTotals& to, const cpu::StepKeep<T>& keep,
              cpu::UpdateSums& sums) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    const cpu::GroupSums by_group = to.sums(!needs_roots(at));
    const std::vector<T> clip = clip_by_ratio(at, block);
    return kernel_.step_rows(call_.rule, at, scale_, rows_of(block),
                             by_rows_ ? clip.data() : nullptr, nullptr, &by_group, keep, sums);
  }

  // `first` is the number of the block's first group among the solver's.
  void add_root_sums(const Block& block, const Solver& solver, int64_t first,
                     const cpu::StepKeep<T>& kept, GroupTotals& to) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    kernel_.root_sums(at.w, kept.step_size, rows_of(block), solver.root() + first,
                      solver.strength() + first, to.first.data(), to.second.data());
  }

  void take_prox(const Block& block, const Solver& solver, int64_t first,
                 const cpu::StepKeep<T>& kept, cpu::UpdateSums& sums) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    const cpu::GroupRows rows = rows_of(block);
    if (needs_roots(at)) {
      kernel_.scale_by_roots(at.w, kept, rows, solver.root() + first, solver.strength() + first,
                             sums);
      return;
    }
    const T* factor = solver.factor() + first;
    const int64_t count = at.axis == GroupAxis::kRows      ? block.end - block.begin
                          : at.axis == GroupAxis::kColumns ? at.columns
                                                           : 1;
    if (std::all_of(factor, factor + count, [](T f) { return f == 1; })) return;
    kernel_.scale_rows(at.w, rows, factor);
  }

  // min(1, ratio ||w|| / ||g||) of each row; empty without such a clip.
  std::vector<T> clip_by_ratio(const UpdateTensor<T>& at, const Block& block) const {
    if (!by_rows_) return {};
    const size_t count = size_t(block.end - block.begin);
    const std::vector<double> w = norms_of_rows(at.w, at, block);
    const std::vector<double> g = norms_of_rows(at.g, at, block);
    std::vector<T> clip(count);
    for (size_t i = 0; i < count; ++i) {
      const double most = call_.clip_ratio * std::max(w[i], kSmallestNorm);
      clip[i] = T(g[i] > most ? most / g[i] : 1.0);
    }
    return clip;
  }
  std::vector<double> norms_of_rows(const T* values, const UpdateTensor<T>& at,
                                    const Block& block) const {
    const cpu::GroupRows rows{at.columns, block.begin, block.end, 1, 0};
    std::vector<double> norms(size_t(block.end - block.begin)), scaled(norms.size());
    kernel_.group_squares(values, rows, T(1), norms.data());
    if (!all_finite(norms)) {
      kernel_.group_squares(values, rows, T(kGroupScale), scaled.data());
    }
    for (size_t i = 0; i < norms.size(); ++i) norms[i] = norm_of(norms[i], scaled[i]);
    return norms;
  }

  void step(const Block& block, cpu::UpdateSums& sums) {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    if (!is_matrix(at)) {
      kernel_.update(call_.rule, at, scale_, block.begin, block.end, sums);
    } else if (is_prox(at)) {
      if (across_rows(at)) {
        take_prox(block, *solver_of(at), at.first_group, keep_of(block), sums);
      } else {
        step_and_prox(block, sums);
      }
    } else {
      const std::vector<T> clip = clip_by_ratio(at, block);
      std::unique_ptr<Solver> own;
      const T* pull = nullptr;
      if (across_rows(at)) {
        pull = solver_of(at)->factor() + at.first_group;
      } else if (at.group_apply == Apply::kGradient) {
        own = solver_of_rows(block);
        kernel_.group_squares(at.w, rows_of(block), T(1), own->totals.before.data());
        measure_large(block, *own, 0, &GroupTotals::before, &Solver::scaled_before);
        own->take_pull();
        pull = own->factor();
      }
      kernel_.step_rows(call_.rule, at, scale_, rows_of(block), by_rows_ ? clip.data() : nullptr,
                        pull, nullptr, {}, sums);
      if (own) sums.penalty += own->value();
    }
  }

  // Groups that are rows are solved on the spot, a few at a time: they stay in the cache.
  std::unique_ptr<Solver> solver_of_rows(const Block& block) const {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    return std::make_unique<Solver>(kGroupKinds[at.group],
                                    call_.group_strength.data() + at.first_group + block.begin,
                                    block.end - block.begin);
  }

  void step_and_prox(const Block& block, cpu::UpdateSums& sums) {
    const UpdateTensor<T>& at = call_.tensors[size_t(block.tensor)];
    const auto solver = solver_of_rows(block);
    Kept own;
    cpu::StepKeep<T> kept = keep_of(block);
    if (needs_roots(at) && !kept.w) {
      own = Kept((block.end - block.begin) * at.columns);
      kept = own.from(0);
    }
    const T step_size = take_step(block, solver->totals, kept, sums);
    measure_large(block, *solver, 0, &GroupTotals::after, &Solver::scaled_after);
    if (needs_roots(at)) {
      find_roots(*solver, [&] { add_root_sums(block, *solver, 0, kept, solver->totals); });
    } else {
      solver->take_factor(double(step_size));
      solver->add_norms(sums);
    }
    take_prox(block, *solver, 0, kept, sums);
    sums.penalty += solver->value();
  }

  const UpdateCall<T>& call_;
  const cpu::Kernels<T>& kernel_ = kernels<T>();
  const bool by_rows_;
  cpu::UpdateScale<T> scale_{};
  double size_ = 0;  // weights in all
  std::vector<Block> blocks_;
  std::vector<std::unique_ptr<Solver>> solvers_{size_t(2 * kKinds)};
  std::vector<Kept> kept_;  // of tensors with groups across rows
};

}  // namespace

template <class T>
UpdateResult update(const UpdateCall<T>& call) {
  return Update<T>(call).run();
}

template UpdateResult update(const UpdateCall<float>&);
template UpdateResult update(const UpdateCall<double>&);

}  // namespace normrnn
