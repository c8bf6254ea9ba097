// The regularised update, in place over a list of tensors.
#include <algorithm>
#include <limits>

#include <pybind11/stl.h>

#include "arrays.h"
#include "normrnn/registry.h"
#include "register.h"

namespace normrnn::bindings {
namespace {

// What an array is to the update, for messages, which are put together only when needed.
enum Role : int { kParam = -5, kGrad, kCenter, kFactor, kPull, kSlot };  // slot s: kSlot + s

std::string label(int role, const std::string& name) {
  if (role == kParam) return "params['" + name + "']";
  if (role == kGrad) return "grads['" + name + "']";
  if (role == kCenter) return "center of '" + name + "'";
  if (role == kFactor) return "weights of the penalty of '" + name + "'";
  if (role == kPull) return "gradient of the penalty of '" + name + "'";
  return "state, slot " + std::to_string(role - kSlot) + " of '" + name + "'";
}

bool is_written(int role) { return role == kParam || role >= kSlot; }

// Memory that one array takes.
struct Span {
  const char* begin;
  const char* end;
  int role;
  size_t tensor;
  bool written() const { return is_written(role); }
};

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

template <class T>
void copy_scalars(const std::string& name, const py::handle& values, T* out) {
  const auto scalars = py::reinterpret_borrow<py::sequence>(values);
  if (scalars.size() > size_t(kMaxScalars)) {
    refuse_value(name, "at most " + std::to_string(kMaxScalars) + " numbers",
                 std::to_string(scalars.size()));
  }
  std::fill_n(out, kMaxScalars, T(0));
  for (size_t i = 0; i < scalars.size(); ++i) out[i] = T(scalars[i].cast<double>());
}

GroupAxis axis_of(const py::handle& object) {
  static const std::vector<std::string> names = {"rows", "columns", "matrix"};
  return GroupAxis(index_of("groups", names, object.cast<std::string>()));
}

Apply apply_of(const py::handle& prox) {
  return prox.cast<bool>() ? Apply::kProx : Apply::kGradient;
}

// How gradients are held; None: not at all.
struct Clip {
  double norm, value, ratio;
};

double limit_of(const py::object& limit) {
  return limit.is_none() ? std::numeric_limits<double>::infinity() : limit.cast<double>();
}

// tensors: (name, w, g, (slots...), on each weight, on groups, gradient of any other), where a
// penalty on each weight is (name, scalars, centre or None, weights or None, prox) or None and one on
// groups is (name, axis, first group, prox) or None.
template <class T>
py::tuple update_of(const py::list& tensors, int rule, const py::sequence& rule_scalars,
                    const std::vector<double>& group_strength, const Clip& clip, bool check_finite,
                    int threads) {
  const int slots = rules()[rule].slots;
  UpdateCall<T> call{};
  call.rule = rule;
  copy_scalars("rule", rule_scalars, call.rule_scalar);
  call.group_strength = group_strength;
  call.clip_norm = clip.norm;
  call.clip_value = clip.value;
  call.clip_ratio = clip.ratio;
  call.check_finite = check_finite;
  call.threads = threads;
  std::vector<py::array> kept;  // inputs that may be copies
  std::vector<Span> spans;
  std::vector<std::string> names;
  std::vector<Dims> shapes;
  constexpr bool kFloat32 = std::is_same_v<T, float>;
  for (const py::handle& item : tensors) {
    const auto tensor = py::reinterpret_borrow<py::tuple>(item);
    names.push_back(tensor[0].cast<std::string>());
    const std::string& name = names.back();
    const auto take = [&](int role, const py::handle& object, const Dims& dims) {
      const bool written = is_written(role);
      py::array array;
      if (is_ready(object, kFloat32, dims)) array = py::reinterpret_borrow<py::array>(object);
      if (written && (!array.size() || !array.writeable())) {
        array = in_place<T>(label(role, name), object, dims);
      } else if (!written && !array.size()) {
        array = input<T>(label(role, name), object, dims);
      }
      const char* begin = static_cast<const char*>(array.data());
      spans.push_back({begin, begin + array.nbytes(), role, names.size() - 1});
      kept.push_back(array);
      return array;
    };
    UpdateTensor<T> at{};
    if (!py::isinstance<py::array>(tensor[1])) as_array(label(kParam, name), tensor[1]);  // throws
    const Dims dims = dims_of(py::reinterpret_borrow<py::array>(tensor[1]));
    py::array w = take(kParam, tensor[1], dims);
    at.w = mutable_data<T>(w);
    at.size = w.size();
    at.columns = dims.empty() ? 1 : dims.back();
    at.rows = at.columns ? at.size / at.columns : 0;
    at.g = data<T>(take(kGrad, tensor[2], dims));
    const auto slot_arrays = py::reinterpret_borrow<py::sequence>(tensor[3]);
    if (int(slot_arrays.size()) != slots) {
      refuse_value("state", std::to_string(slots) + " slots", std::to_string(slot_arrays.size()));
    }
    for (int s = 0; s < slots; ++s) {
      py::array slot = take(kSlot + s, slot_arrays[s], dims);
      at.slot[s] = mutable_data<T>(slot);
    }
    const auto optional = [&](int role, const py::handle& object) -> const T* {
      return object.is_none() ? nullptr : data<T>(take(role, object, dims));
    };
    if (!tensor[4].is_none()) {
      const auto penalty = py::reinterpret_borrow<py::tuple>(tensor[4]);
      at.penalty = index_of("penalty", penalty_names(), penalty[0].cast<std::string>());
      copy_scalars("penalty", penalty[1], at.penalty_scalar);
      at.center = optional(kCenter, penalty[2]);
      at.factor = optional(kFactor, penalty[3]);
      at.apply = apply_of(penalty[4]);
    }
    if (!tensor[5].is_none()) {
      const auto penalty = py::reinterpret_borrow<py::tuple>(tensor[5]);
      at.group = index_of("penalty", group_names(), penalty[0].cast<std::string>());
      at.axis = axis_of(penalty[1]);
      at.first_group = penalty[2].cast<int64_t>();
      at.group_apply = apply_of(penalty[3]);
      const int64_t count = at.axis == GroupAxis::kWhole     ? 1
                            : at.axis == GroupAxis::kColumns ? at.columns
                                                             : at.rows;
      if (at.first_group < 0 || at.first_group + count > int64_t(group_strength.size())) {
        refuse_value("group_strength", std::to_string(at.first_group + count) + " groups",
                     std::to_string(group_strength.size()));
      }
    }
    at.pull = optional(kPull, tensor[6]);
    call.tensors.push_back(at);
    shapes.push_back(dims);
  }
  refuse_overlap(spans, names);

  UpdateResult result{};
  try {
    without_gil([&] { result = update(call); });
  } catch (const NonFinite& bad) {
    Dims index(shapes[bad.tensor].size());
    int64_t rest = bad.index;
    for (size_t d = index.size(); d-- > 0; rest /= shapes[bad.tensor][d]) {
      index[d] = rest % shapes[bad.tensor][d];
    }
    const std::string message = label(kGrad, names[bad.tensor]) + ": expected finite values, got " +
                                py::str(py::float_(bad.value)).cast<std::string>() + " at index " +
                                text_of(index);
    PyErr_SetString(PyExc_FloatingPointError, message.c_str());
    throw py::error_already_set();
  }
  return py::make_tuple(result.penalty, result.grad_norm, result.update_norm, result.param_norm,
                        result.clip_scale, result.clipped_norm);
}

}  // namespace

void register_update(py::module_& m) {
  m.def(
      "update",
      [](const py::list& tensors, const std::string& rule, const py::sequence& rule_scalars,
         const std::vector<double>& group_strength, const py::object& clip_norm,
         const py::object& clip_value, const py::object& clip_ratio, const py::object& check_finite,
         const py::object& num_threads, py::dict& state) {
        const int index = index_of("rule", rule_names(), rule);
        const Clip clip{limit_of(clip_norm), limit_of(clip_value), limit_of(clip_ratio)};
        bool float32 = true;
        if (tensors.size()) {
          const auto first = py::reinterpret_borrow<py::tuple>(tensors[0]);
          const std::string name = label(kParam, first[0].cast<std::string>());
          float32 = is_float32(name, as_array(name, first[1]));
        }
        const py::object next = py::object(state["step"]) + py::int_(1);
        const py::tuple sums =
            (float32 ? update_of<float> : update_of<double>)(tensors, index, rule_scalars,
                                                             group_strength, clip,
                                                             flag_in("check_finite", check_finite),
                                                             threads_of(num_threads));
        state["step"] = next;  // in here, where no interrupt comes between it and the weights
        return sums;
      },
      py::arg("tensors"), py::arg("rule"), py::arg("rule_scalars"), py::arg("group_strength"),
      py::arg("clip_norm"), py::arg("clip_value"), py::arg("clip_ratio"), py::arg("check_finite"),
      py::arg("num_threads"), py::arg("state"));
}

}  // namespace normrnn::bindings
