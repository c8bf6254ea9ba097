// The regularised update, in place over a list of tensors.
#include <algorithm>
#include <limits>

#include "arrays.h"
#include "normrnn/registry.h"
#include "register.h"

namespace normrnn::bindings {
namespace {

// Memory that one array takes, and whether the update writes it.
struct Span {
  const char* begin;
  const char* end;
  bool written;
  std::string name;
};

Span span_of(const py::array& array, bool written, const std::string& name) {
  const char* begin = static_cast<const char*>(array.data());
  return {begin, begin + array.nbytes(), written, name};
}

void refuse_overlap(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  const Span* furthest_read = nullptr;
  const Span* furthest_written = nullptr;
  for (const Span& span : spans) {
    if (span.begin == span.end) continue;
    for (const Span* before : {furthest_written, span.written ? furthest_read : nullptr}) {
      if (before && before->end > span.begin) {
        refuse_value(span.name, "memory of its own", "an overlap with " + before->name);
      }
    }
    const Span*& furthest = span.written ? furthest_written : furthest_read;
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

// tensors: (name, w, g, (slots...), (penalty name, scalars, centre or None, prox) or None)
template <class T>
py::tuple update_of(const py::list& tensors, int rule, const py::sequence& rule_scalars,
                    double clip_norm, bool check_finite, int threads) {
  const int slots = rules()[rule].slots;
  UpdateCall<T> call{};
  call.rule = rule;
  copy_scalars("rule", rule_scalars, call.rule_scalar);
  call.clip_norm = clip_norm;
  call.check_finite = check_finite;
  call.threads = threads;
  std::vector<py::array> kept;  // inputs that may be copies
  std::vector<Span> spans;
  std::vector<std::string> names;
  std::vector<Dims> shapes;
  for (const py::handle& item : tensors) {
    const auto tensor = py::reinterpret_borrow<py::tuple>(item);
    const std::string name = tensor[0].cast<std::string>();
    UpdateTensor<T> at{};
    const Dims dims = dims_of(as_array("params['" + name + "']", tensor[1]));
    py::array w = in_place<T>("params['" + name + "']", tensor[1], dims);
    at.w = mutable_data<T>(w);
    at.size = w.size();
    spans.push_back(span_of(w, true, "params['" + name + "']"));
    const py::array g = input<T>("grads['" + name + "']", tensor[2], dims);
    at.g = data<T>(g);
    spans.push_back(span_of(g, false, "grads['" + name + "']"));
    kept.push_back(g);
    const auto slot_arrays = py::reinterpret_borrow<py::sequence>(tensor[3]);
    if (int(slot_arrays.size()) != slots) {
      refuse_value("state", std::to_string(slots) + " slots", std::to_string(slot_arrays.size()));
    }
    for (int s = 0; s < slots; ++s) {
      const std::string slot_name = "state, slot " + std::to_string(s) + " of '" + name + "'";
      py::array slot = in_place<T>(slot_name, slot_arrays[s], dims);
      at.slot[s] = mutable_data<T>(slot);
      spans.push_back(span_of(slot, true, slot_name));
    }
    if (!tensor[4].is_none()) {
      const auto penalty = py::reinterpret_borrow<py::tuple>(tensor[4]);
      at.penalty = index_of("penalty", penalty_names(), penalty[0].cast<std::string>());
      copy_scalars("penalty", penalty[1], at.penalty_scalar);
      if (!penalty[2].is_none()) {
        const std::string center_name = "center of '" + name + "'";
        const py::array center = input<T>(center_name, penalty[2], dims);
        at.center = data<T>(center);
        spans.push_back(span_of(center, false, center_name));
        kept.push_back(center);
      }
      at.apply = penalty[3].cast<bool>() ? Apply::kProx : Apply::kGradient;
    }
    call.tensors.push_back(at);
    names.push_back(name);
    shapes.push_back(dims);
  }
  refuse_overlap(std::move(spans));

  UpdateResult result{};
  try {
    without_gil([&] { result = update(call); });
  } catch (const NonFinite& bad) {
    Dims index(shapes[bad.tensor].size());
    int64_t rest = bad.index;
    for (size_t d = index.size(); d-- > 0; rest /= shapes[bad.tensor][d]) {
      index[d] = rest % shapes[bad.tensor][d];
    }
    const std::string message = "grads['" + names[bad.tensor] + "']: expected finite values, got " +
                                py::str(py::float_(bad.value)).cast<std::string>() + " at index " +
                                text_of(index);
    PyErr_SetString(PyExc_FloatingPointError, message.c_str());
    throw py::error_already_set();
  }
  return py::make_tuple(result.penalty, result.grad_norm, result.update_norm, result.param_norm,
                        result.clip_scale);
}

}  // namespace

void register_update(py::module_& m) {
  m.def(
      "update",
      [](const py::list& tensors, const std::string& rule, const py::sequence& rule_scalars,
         const py::object& clip_norm, const py::object& check_finite, const py::object& num_threads,
         py::dict& state) {
        const int index = index_of("rule", rule_names(), rule);
        const double clip = clip_norm.is_none() ? std::numeric_limits<double>::infinity()
                                                : clip_norm.cast<double>();
        bool float32 = true;
        if (tensors.size()) {
          const auto first = py::reinterpret_borrow<py::tuple>(tensors[0]);
          const std::string name = "params['" + first[0].cast<std::string>() + "']";
          float32 = is_float32(name, as_array(name, first[1]));
        }
        const py::object next = py::object(state["step"]) + py::int_(1);
        const py::tuple sums =
            (float32 ? update_of<float> : update_of<double>)(tensors, index, rule_scalars, clip,
                                                             flag_in("check_finite", check_finite),
                                                             threads_of(num_threads));
        state["step"] = next;  // in here, where no interrupt comes between it and the weights
        return sums;
      },
      py::arg("tensors"), py::arg("rule"), py::arg("rule_scalars"), py::arg("clip_norm"),
      py::arg("check_finite"), py::arg("num_threads"), py::arg("state"));
}

}  // namespace normrnn::bindings
