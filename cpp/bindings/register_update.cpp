// The regularised update, in place over a list of tensors.
#include <pybind11/stl.h>

#include "arrays.h"
#include "normrnn/registry.h"
#include "register.h"
#include "update_options.h"

namespace normrnn::bindings {
namespace {

// tensors: see update_options.h; each is followed by the row of the parameter that it begins with.
template <class T>
py::tuple update_of(const py::list& tensors, int rule, const py::sequence& rule_scalars,
                    const Doubles& group_strength, const Clip& clip, bool check_finite,
                    int threads) {
  const int slots = rules()[rule].slots;
  auto call = update_call<T>(rule, rule_scalars, group_strength, clip, check_finite);
  call.threads = threads;
  std::vector<py::array> kept;  // inputs that may be copies
  std::vector<Span> spans;
  std::vector<std::string> names;
  std::vector<Dims> shapes;
  std::vector<int64_t> first_rows;
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
      read_penalty(name, penalty, at);
      at.center = optional(kCenter, penalty[2]);
      at.factor = optional(kFactor, penalty[3]);
    }
    read_groups(tensor[5], group_strength.size(), at);
    at.pull = optional(kPull, tensor[6]);
    call.tensors.push_back(at);
    shapes.push_back(dims);
    first_rows.push_back(tensor[7].cast<int64_t>());
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
    if (!index.empty()) index[0] += first_rows[bad.tensor];
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
         const Doubles& group_strength, const py::object& clip_norm, const py::object& clip_value,
         const py::object& clip_ratio, const py::object& check_finite,
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
