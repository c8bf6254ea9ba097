#include "update_options.h"

#include <algorithm>
#include <cmath>

namespace normrnn::bindings {

std::string label(int role, const std::string& name) {
  if (role == kParam) return "params['" + name + "']";
  if (role == kGrad) return "grads['" + name + "']";
  if (role == kCenter) return "center of '" + name + "'";
  if (role == kFactor) return "weights of the penalty of '" + name + "'";
  if (role == kPull) return "gradient of the penalty of '" + name + "'";
  return "state, slot " + std::to_string(role - kSlot) + " of '" + name + "'";
}

void refuse_overlap(std::vector<Span>& spans, const std::vector<std::string>& names) {
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  const auto label_of = [&](const Span& span) { return label(span.role, names[span.tensor]); };
  const Span* furthest_read = nullptr;
  const Span* furthest_written = nullptr;
  for (const Span& span : spans) {
    if (span.begin == span.end) continue;
    for (const Span* before : {furthest_written, span.written() ? furthest_read : nullptr}) {
      if (before && before->end > span.begin) {
        refuse_value(label_of(span), "memory of its own", "an overlap with " + label_of(*before));
      }
    }
    const Span*& furthest = span.written() ? furthest_written : furthest_read;
    if (!furthest || span.end > furthest->end) furthest = &span;
  }
}

namespace {

// Kernels take numbers twice (2 strength w), and infinity times a weight of 0 is NaN.
template <class T, class Name>
void refuse_beyond(double value, Name&& name) {
  constexpr double kMost = double(std::numeric_limits<T>::max()) / 2;
  if (std::abs(value) <= kMost) return;
  const auto text = [](double number) { return py::str(py::float_(number)).cast<std::string>(); };
  const std::string dtype = sizeof(T) == 4 ? "float32" : "float64";
  refuse_value(name(), "numbers of at most " + text(kMost) + " for " + dtype, text(value));
}

// name(): whose numbers, in words that are put together only when needed.
template <class T, class Name>
void copy_scalars(const py::handle& values, T* out, Name&& name) {
  const auto scalars = py::reinterpret_borrow<py::sequence>(values);
  const size_t count = scalars.size();
  if (count > size_t(kMaxScalars)) {
    refuse_value(name(), "at most " + std::to_string(kMaxScalars) + " numbers",
                 std::to_string(count));
  }
  std::fill_n(out, kMaxScalars, T(0));
  for (size_t i = 0; i < count; ++i) {
    const double scalar = scalars[i].cast<double>();
    refuse_beyond<T>(scalar, name);
    out[i] = T(scalar);
  }
}

GroupAxis axis_of(const py::handle& object) {
  static const std::vector<std::string> names = {"rows", "columns", "matrix"};
  return GroupAxis(index_of("groups", names, object.cast<std::string>()));
}

Apply apply_of(const py::handle& prox) {
  return prox.cast<bool>() ? Apply::kProx : Apply::kGradient;
}

}  // namespace

template <class T>
UpdateCall<T> update_call(int rule, const py::sequence& rule_scalars,
                          const py::array& group_strength, const Clip& clip, bool check_finite) {
  UpdateCall<T> call{};
  call.rule = rule;
  copy_scalars(rule_scalars, call.rule_scalar, [] { return std::string("rule"); });
  if (group_strength.size()) {
    const py::array_t<double, py::array::c_style | py::array::forcecast> strengths(group_strength);
    call.group_strength.assign(strengths.data(), strengths.data() + strengths.size());
  }
  for (const double strength : call.group_strength) {
    refuse_beyond<T>(strength, [] { return std::string("penalty of groups"); });
  }
  call.clip_norm = clip.norm;
  call.clip_value = clip.value;
  call.clip_ratio = clip.ratio;
  call.check_finite = check_finite;
  return call;
}

template <class T>
void read_penalty(const std::string& name, const py::tuple& penalty, UpdateTensor<T>& at) {
  at.penalty = index_of("penalty", penalty_names(), penalty[0].cast<std::string>());
  copy_scalars(penalty[1], at.penalty_scalar, [&] { return "penalty of '" + name + "'"; });
  at.apply = apply_of(penalty[4]);
}

template <class T>
void read_groups(const py::object& given, int64_t groups, UpdateTensor<T>& at) {
  if (given.is_none()) return;
  const auto penalty = py::reinterpret_borrow<py::tuple>(given);
  at.group = index_of("penalty", group_names(), penalty[0].cast<std::string>());
  at.axis = axis_of(penalty[1]);
  at.first_group = penalty[2].cast<int64_t>();
  at.group_apply = apply_of(penalty[3]);
  const int64_t count = at.axis == GroupAxis::kWhole     ? 1
                        : at.axis == GroupAxis::kColumns ? at.columns
                                                         : at.rows;
  if (at.first_group < 0 || at.first_group + count > groups) {
    refuse_value("group_strength", std::to_string(at.first_group + count) + " groups",
                 std::to_string(groups));
  }
}

#define NORMRNN_INSTANTIATE(T)                                                                \
  template UpdateCall<T> update_call(int, const py::sequence&, const py::array&, const Clip&, \
                                     bool);                                                   \
  template void read_penalty(const std::string&, const py::tuple&, UpdateTensor<T>&);         \
  template void read_groups(const py::object&, int64_t, UpdateTensor<T>&);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
#undef NORMRNN_INSTANTIATE

}  // namespace normrnn::bindings
