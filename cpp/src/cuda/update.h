// The fused update over any queue: a look at the gradients, which can still refuse, then one pass
// over all tensors. Before it, the norms that groups of weights need are measured.
#pragma once

#include <cmath>
#include <limits>

#include "cuda/reduce.h"
#include "cuda/update_groups.h"
#include "normrnn/registry.h"

namespace normrnn::device {

constexpr double kSmallestNorm = 1e-3;  // of weights, for clip_ratio: weights of 0 may grow

// All public: nvcc allows device lambdas in public member functions only.
template <class Rule, class T, class Queue>
struct Update {
  Update(Queue& queue, const UpdateCall<T>& call, double* sums) : queue_(queue), call_(call) {
    arrays_.sums = sums;
  }

  void run() {
    make_tables();
    const bool by_rows = std::isfinite(call_.clip_ratio);
    const bool by_value = std::isfinite(call_.clip_value);
    arrays_.look_first =
        call_.check_finite || by_rows || by_value || std::isfinite(call_.clip_norm);
    for (int i = 0; i < kMaxScalars; ++i) arrays_.rule_scalar[i] = call_.rule_scalar[i];
    arrays_.clip_value = T(call_.clip_value);
    clear_sums();
    if (arrays_.look_first) look_at_gradients();
    if (by_rows) clip_rows();
    measure_groups();
    if (is_plain()) {
      queue_.groups("update", blocks_, 1, UpdateStep<Rule, T, true>{arrays_});
    } else {
      queue_.groups("update", blocks_, 1, UpdateStep<Rule, T, false>{arrays_});
    }
    add_up(by_rows || by_value);
  }

  bool is_plain() const {
    bool plain = !arrays_.row_clip;
    for (const UpdateTensor<T>& at : call_.tensors) {
      plain = plain && at.group_apply == Apply::kNone && !at.center && !at.factor && !at.pull;
    }
    return plain;
  }

  void make_tables() {
    const int64_t count = int64_t(call_.tensors.size());
    std::vector<int64_t> first(size_t(count) + 1, 0);
    int64_t most = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t own = (call_.tensors[size_t(i)].size + kUpdateBlock - 1) / kUpdateBlock;
      first[size_t(i) + 1] = first[size_t(i)] + own;
      most = max_of(most, own);
    }
    blocks_ = first[size_t(count)];
    tensors_ = memory<UpdateTensor<T>>(queue_, "update", count);
    queue_.upload(tensors_.get(), call_.tensors.data(), count);
    arrays_.tensors = tensors_.get();
    first_block_ = memory<int64_t>(queue_, "update", count + 1);
    queue_.upload(first_block_.get(), first.data(), count + 1);
    table_ = memory<UpdateBlock>(queue_, "update", blocks_);
    arrays_.blocks = table_.get();
    parts_ = memory<double>(queue_, "update", blocks_, 4);
    arrays_.parts = parts_.get();
    UpdateBlock* table = table_.get();
    const int64_t* first_block = first_block_.get();
    const UpdateTensor<T>* tensors = tensors_.get();
    queue_.each(
        "update table", count, most, NORMRNN_LAMBDA(int64_t t, int64_t b) {
          if (b >= first_block[t + 1] - first_block[t]) return;
          table[first_block[t] + b] = {t, b * kUpdateBlock,
                                       min_of(tensors[t].size, (b + 1) * kUpdateBlock)};
        });
  }

  void clear_sums() {
    double* sums = arrays_.sums;
    queue_.each(
        "update sums", 1, 1, NORMRNN_LAMBDA(int64_t, int64_t) {
          for (int i = 0; i < cuda::kUpdateSums; ++i) sums[i] = 0;
          sums[cuda::kClipScale] = 1;
          sums[cuda::kBadTensor] = sums[cuda::kBadIndex] = -1;
        });
  }

  void look_at_gradients() {
    queue_.groups("gradients", blocks_, 1, LookAtGradients<T>{arrays_});
    const UpdateArrays<T> all = arrays_;
    const int64_t blocks = blocks_;
    const double clip_norm = call_.clip_norm;
    row_sums<3>(
        queue_, "gradients", 1, NORMRNN_LAMBDA(int64_t)->int64_t { return blocks; },
        NORMRNN_LAMBDA(int64_t, int64_t i, double* sum) {
          for (int s = 0; s < 3; ++s) sum[s] += all.parts[4 * i + s];
        },
        NORMRNN_LAMBDA(int64_t, const double* sum) {
          const double squares = sum[0];
          double norm = norm_of(squares, sum[1]);
          all.sums[cuda::kBadCount] = sum[2];
          if (sum[2] > 0) norm = sum[2] * (squares - squares);  // NaN
          all.sums[cuda::kGradNorm] = norm;
          all.sums[cuda::kClipScale] = norm > clip_norm ? clip_norm / norm : 1;
          if (sum[2] > 0) find_bad(all, blocks);
        });
  }

  // The first gradient that is not finite.
  NORMRNN_FN static void find_bad(const UpdateArrays<T>& all, int64_t blocks) {
    for (int64_t b = 0; b < blocks; ++b) {
      if (!(all.parts[4 * b + 2] > 0)) continue;
      const UpdateBlock block = all.blocks[b];
      for (int64_t i = block.begin; i < block.end; ++i) {
        const double g = double(all.tensors[block.tensor].g[i]);
        if (g - g == 0) continue;
        all.sums[cuda::kBadTensor] = double(block.tensor);
        all.sums[cuda::kBadIndex] = double(i);
        all.sums[cuda::kBadValue] = g;
        return;
      }
    }
  }

  // min(1, ratio ||w|| / ||g||) of each row of each tensor.
  void clip_rows() {
    std::vector<int64_t> first;
    int64_t rows = 0;
    for (const UpdateTensor<T>& at : call_.tensors) {
      first.push_back(rows);
      rows += at.rows;
    }
    row_clip_ = memory<T>(queue_, "clip ratio", rows);
    first_row_ = memory<int64_t>(queue_, "clip ratio", int64_t(first.size()));
    queue_.upload(first_row_.get(), first.data(), int64_t(first.size()));
    arrays_.row_clip = row_clip_.get();
    arrays_.first_row = first_row_.get();
    const double ratio = call_.clip_ratio;
    for (size_t t = 0; t < call_.tensors.size(); ++t) {
      const UpdateTensor<T>& at = call_.tensors[t];
      if (at.size == 0) continue;
      const T *w = at.w, *g = at.g;
      const int64_t columns = at.columns;
      T* to = row_clip_.get() + first[t];
      row_sums<4>(
          queue_, "clip ratio", at.rows, NORMRNN_LAMBDA(int64_t)->int64_t { return columns; },
          NORMRNN_LAMBDA(int64_t r, int64_t c, double* sum) {
            const double weight = double(w[r * columns + c]), one = double(g[r * columns + c]);
            const double small = weight * kGroupScale, small_one = one * kGroupScale;
            sum[0] += weight * weight;
            sum[1] += small * small;
            sum[2] += one * one;
            sum[3] += small_one * small_one;
          },
          NORMRNN_LAMBDA(int64_t r, const double* sum) {
            const double norm = norm_of(sum[2], sum[3]);
            const double most = ratio * max(norm_of(sum[0], sum[1]), kSmallestNorm);
            to[r] = T(norm > most ? most / norm : 1.0);
          });
    }
  }

  static GroupUse use_of(const UpdateTensor<T>& at) {
    if (at.group_apply == Apply::kGradient) return GroupUse::kPull;
    // Whether a group's factor depends on the step sizes of all its weights.
    const bool roots = !Rule::kUniformStep && !is_constraint(at.group);
    return roots ? GroupUse::kRoot : GroupUse::kFactor;
  }

  void measure_groups() {
    const int64_t count = int64_t(call_.group_strength.size());
    bool any = false, roots = false;
    for (const UpdateTensor<T>& at : call_.tensors) {
      if (at.group_apply == Apply::kNone || at.size == 0) continue;
      any = true;
      roots = roots || use_of(at) == GroupUse::kRoot;
    }
    if (!any) return;
    group_numbers_ = memory<double>(queue_, "groups", count, 5);
    group_factors_ = memory<T>(queue_, "groups", count, 3);
    going_ = memory<int64_t>(queue_, "groups", 1);
    double* numbers = group_numbers_.get();
    T* factors = group_factors_.get();
    queue_.upload(numbers, call_.group_strength.data(), count);
    groups_ = {numbers + count, numbers + 4 * count, numbers,      factors,
               factors + count, factors + 2 * count, going_.get(), count};
    arrays_.pull = groups_.pull;
    arrays_.factor = groups_.factor;
    arrays_.root = groups_.root;
    arrays_.strength = groups_.strength;
    arrays_.needs_roots = !Rule::kUniformStep;
    const GroupArrays<T> groups = groups_;
    queue_.each(
        "groups", 1, count, NORMRNN_LAMBDA(int64_t, int64_t i) {
          groups.exact[i] = 0;
          groups.root[i] = T(groups.strength[i]) > 0 ? T(0) : T(1);
          groups.pull[i] = 0;
          groups.factor[i] = 1;
          if (i == 0) *groups.going = 1;
        });
    queue_.zero(groups_.sums, 3 * count);
    for (const GroupUse use : {GroupUse::kPull, GroupUse::kFactor}) {
      measure(use);
      for (const UpdateTensor<T>& at : call_.tensors) take(at, use);
    }
    for (int round = 0; roots && round < kMostRounds; ++round) {
      clear_roots();
      measure(GroupUse::kRoot);
      queue_.groups("groups", 1, 1, Refine<T>{groups_});
    }
  }

  // Sums of the groups that roots are sought for, to be made anew.
  void clear_roots() {
    const GroupArrays<T> groups = groups_;
    for (const UpdateTensor<T>& at : call_.tensors) {
      if (at.group_apply != Apply::kProx || use_of(at) != GroupUse::kRoot) continue;
      const int64_t first = at.first_group;
      queue_.each(
          "groups", groups_of(at), 3, NORMRNN_LAMBDA(int64_t i, int64_t s) {
            if (*groups.going) groups.sums[3 * (first + i) + s] = 0;
          });
    }
  }

  // Adds the tensors' weights to the sums of their groups.
  void measure(GroupUse use) {
    for (size_t t = 0; t < call_.tensors.size(); ++t) {
      const UpdateTensor<T>& at = call_.tensors[t];
      if (at.group_apply == Apply::kNone || at.size == 0 || use_of(at) != use) continue;
      const int64_t* going = use == GroupUse::kRoot ? groups_.going : nullptr;
      double* to = groups_.sums + 3 * at.first_group;
      if (at.axis == GroupAxis::kColumns) {
        measure_columns(int64_t(t), at, use, going, to);
      } else if (at.axis == GroupAxis::kRows) {
        queue_.groups("groups", at.rows, 1,
                      MeasureRows<Rule, T>{arrays_, int64_t(t), at.columns, use, going, to});
      } else {
        Memory<double> parts = memory<double>(queue_, "groups", at.rows, 3);
        double* part = parts.get();
        const int64_t rows = at.rows;
        queue_.zero(part, 3 * rows);
        queue_.groups("groups", at.rows, 1,
                      MeasureRows<Rule, T>{arrays_, int64_t(t), at.columns, use, going, part});
        row_sums<3>(
            queue_, "groups", 1, NORMRNN_LAMBDA(int64_t)->int64_t { return rows; },
            NORMRNN_LAMBDA(int64_t, int64_t r, double* sum) {
              for (int s = 0; s < 3; ++s) sum[s] += part[3 * r + s];
            },
            NORMRNN_LAMBDA(int64_t, const double* sum) {
              for (int s = 0; s < 3; ++s) to[s] += sum[s];
            });
      }
    }
  }

  void measure_columns(int64_t tensor, const UpdateTensor<T>& at, GroupUse use,
                       const int64_t* going, double* to) {
    int64_t height = (at.rows + kMostChunks - 1) / kMostChunks;
    if (height < kFewestRows) height = kFewestRows;
    const int64_t chunks = (at.rows + height - 1) / height, columns = at.columns;
    Memory<double> parts = memory<double>(queue_, "groups", chunks, 3 * columns);
    double* part = parts.get();
    queue_.each(
        "groups", chunks, columns,
        MeasureColumns<Rule, T>{arrays_, tensor, at.rows, columns, height, use, going, part});
    queue_.each(
        "groups", 1, 3 * columns, NORMRNN_LAMBDA(int64_t, int64_t i) {
          if (going && !*going) return;
          double sum = 0;
          for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += part[chunk * 3 * columns + i];
          to[i] += sum;
        });
  }

  // What the pass that takes the steps multiplies by. Tensors that share groups do so twice, alike.
  void take(const UpdateTensor<T>& at, GroupUse use) {
    if (at.group_apply == Apply::kNone || at.size == 0 || use_of(at) != use) return;
    const GroupArrays<T> groups = groups_;
    const GroupMaths kind{at.group};
    const int64_t first = at.first_group;
    const UpdateArrays<T> all = arrays_;
    queue_.each(
        "groups", 1, groups_of(at), NORMRNN_LAMBDA(int64_t, int64_t j) {
          const int64_t i = first + j;
          const double norm = norm_of(groups.sums[3 * i], groups.sums[3 * i + 1]);
          if (use == GroupUse::kPull) {
            groups.pull[i] = held<T>(kind.pull(norm, groups.strength[i]));
            return;
          }
          T slot[kMaxSlots] = {}, step;  // the same for all weights
          Rule::step(T(0), slot, all.rule_scalar, step);
          groups.factor[i] = held<T>(kind.factor(norm, groups.strength[i], double(step)));
        });
  }

  // The sums of all blocks, and the penalties of groups from the weights before the step.
  void add_up(bool clipped) {
    const UpdateArrays<T> all = arrays_;
    const int64_t blocks = blocks_;
    row_sums<4>(
        queue_, "update sums", 1, NORMRNN_LAMBDA(int64_t)->int64_t { return blocks; },
        NORMRNN_LAMBDA(int64_t, int64_t i, double* sum) {
          for (int s = 0; s < 4; ++s) sum[s] += all.parts[4 * i + s];
        },
        NORMRNN_LAMBDA(int64_t, const double* sum) {
          double* to = all.sums;
          to[cuda::kPenalty] += sum[0];
          if (!all.look_first) to[cuda::kGradNorm] = sqrt(sum[1]);
          to[cuda::kClippedNorm] =
              clipped ? sqrt(sum[1]) : to[cuda::kGradNorm] * to[cuda::kClipScale];
          to[cuda::kUpdateNorm] = sqrt(sum[2]);
          to[cuda::kParamNorm] = sqrt(sum[3]);
        });
    std::vector<int64_t> counted;  // groups that tensors share count once
    for (const UpdateTensor<T>& at : call_.tensors) {
      if (at.group_apply == Apply::kNone || at.size == 0) continue;
      bool again = false;
      for (const int64_t first : counted) again = again || first == at.first_group;
      counted.push_back(at.first_group);
      if (again) continue;
      const GroupArrays<T> groups = groups_;
      const GroupMaths kind{at.group};
      const GroupUse use = use_of(at);
      const int64_t first = at.first_group, count = groups_of(at);
      row_sums<1>(
          queue_, "groups", 1, NORMRNN_LAMBDA(int64_t)->int64_t { return count; },
          NORMRNN_LAMBDA(int64_t, int64_t j, double* sum) {
            // Before a step by the gradient the first two are of the same weights.
            const double* of = groups.sums + 3 * (first + j);
            const double norm = use == GroupUse::kPull ? norm_of(of[2], of[1]) : sqrt(of[2]);
            sum[0] += kind.value(norm, groups.strength[first + j]);
          },
          NORMRNN_LAMBDA(int64_t, const double* sum) { all.sums[cuda::kPenalty] += sum[0]; });
    }
  }

  Queue& queue_;
  const UpdateCall<T>& call_;
  UpdateArrays<T> arrays_{};
  GroupArrays<T> groups_{};
  int64_t blocks_ = 0;
  Memory<UpdateTensor<T>> tensors_;
  Memory<int64_t> first_block_, first_row_, going_;
  Memory<UpdateBlock> table_;
  Memory<double> parts_, group_numbers_;
  Memory<T> row_clip_, group_factors_;
};

// sums [cuda::kUpdateSums]: in device memory.
template <class T, class Queue>
void update(Queue& queue, const UpdateCall<T>& call, double* sums) {
  int rule = 0;
#define NORMRNN_RULE(name, type) \
  if (call.rule == rule++) Update<type, T, Queue>(queue, call, sums).run();
#include "rules/rules.def"
}

}  // namespace normrnn::device
