// The regularised update on arrays in the memory of a GPU.
#include <pybind11/stl.h>

#include "device_arrays.h"
#include "normrnn/registry.h"
#include "register.h"
#include "update_options.h"

namespace normrnn::bindings {
namespace {

// tensors: (name, w, g, (slots...), on each weight, on groups, gradient of any other, (begin, end)),
// the last the rows of the parameter that it is, or None for all. Gradients and slots are whole, too;
// centres and weights are of those rows.
template <class T>
std::shared_ptr<DeviceArray> update_of(const py::list& tensors, UpdateCall<T> call,
                                       DeviceScope& scope) {
  const int slots = rules()[size_t(call.rule)].slots;
  std::vector<DeviceView> kept;
  std::vector<Span> spans;
  std::vector<std::string> names;
  for (const py::handle& item : tensors) {
    const auto tensor = py::reinterpret_borrow<py::tuple>(item);
    names.push_back(tensor[0].cast<std::string>());
    const std::string& name = names.back();
    const DeviceView whole = scope.look(label(kParam, name), tensor[1]);
    DeviceScope::expect<T>(label(kParam, name), whole, whole.dims, true);
    Dims dims = whole.dims;
    int64_t first = 0;  // element
    if (!tensor[7].is_none()) {
      const auto [begin, end] = tensor[7].cast<std::pair<int64_t, int64_t>>();
      if (dims.empty() || begin < 0 || end < begin || end > dims[0]) {
        refuse_value(label(kParam, name), "at least " + std::to_string(end) + " rows",
                     "shape " + text_of(dims));
      }
      first = dims[0] ? begin * (whole.size() / dims[0]) : 0;
      dims[0] = end - begin;
    }
    UpdateTensor<T> at{};
    at.size = 1;
    for (const py::ssize_t dim : dims) at.size *= dim;
    at.columns = dims.empty() ? 1 : dims.back();
    at.rows = at.columns ? at.size / at.columns : 0;
    const auto keep = [&](int role, DeviceView view, int64_t begin) {
      T* const data = static_cast<T*>(view.data) + begin;
      const char* const bytes = reinterpret_cast<const char*>(data);
      spans.push_back({bytes, bytes + at.size * int64_t(sizeof(T)), role, names.size() - 1});
      kept.push_back(std::move(view));
      return data;
    };
    const auto take = [&](int role, const py::handle& object, bool of_piece) {
      const Dims& expected = of_piece ? dims : whole.dims;
      return keep(role,
                  is_written(role) ? scope.in_place<T>(label(role, name), object, expected)
                                   : scope.input<T>(label(role, name), object, expected),
                  of_piece ? 0 : first);
    };
    at.w = keep(kParam, whole, first);
    at.g = take(kGrad, tensor[2], false);
    const auto slot_arrays = py::reinterpret_borrow<py::sequence>(tensor[3]);
    if (int(slot_arrays.size()) != slots) {
      refuse_value("state", std::to_string(slots) + " slots", std::to_string(slot_arrays.size()));
    }
    for (int s = 0; s < slots; ++s) at.slot[s] = take(kSlot + s, slot_arrays[size_t(s)], false);
    if (!tensor[4].is_none()) {
      const auto penalty = py::reinterpret_borrow<py::tuple>(tensor[4]);
      read_penalty(name, penalty, at);
      if (!penalty[2].is_none()) at.center = take(kCenter, penalty[2], true);
      if (!penalty[3].is_none()) at.factor = take(kFactor, penalty[3], true);
    }
    read_groups(tensor[5], int64_t(call.group_strength.size()), at);
    call.tensors.push_back(at);
  }
  refuse_overlap(spans, names);
  const auto sums = std::make_shared<DeviceArray>(false, Dims{cuda::kUpdateSums}, scope.stream(),
                                                  scope.stream_owner());
  without_gil([&] { cuda::update(call, data_of<double>(sums), scope.stream()); });
  return sums;
}

}  // namespace

void register_device_update(py::module_& m) {
  m.def(
      "device_update",
      [](const py::list& tensors, const std::string& rule, const py::sequence& rule_scalars,
         const py::array& group_strength, const py::object& clip_norm, const py::object& clip_value,
         const py::object& clip_ratio, const py::object& check_finite, py::dict& state,
         const py::object& stream, const py::object& stream_owner) {
        const int index = index_of("rule", rule_names(), rule);
        const Clip clip{limit_of(clip_norm), limit_of(clip_value), limit_of(clip_ratio)};
        const bool check = flag_in("check_finite", check_finite);
        DeviceScope scope(stream, stream_owner);
        bool float32 = true;
        if (tensors.size()) {
          const auto first = py::reinterpret_borrow<py::tuple>(tensors[0]);
          const std::string name = label(kParam, first[0].cast<std::string>());
          float32 = is_float32(name, scope.look(name, first[1]));
        }
        const py::object next = py::object(state["step"]) + py::int_(1);
        const auto run = [&](auto zero) {
          using T = decltype(zero);
          return update_of<T>(
              tensors, update_call<T>(index, rule_scalars, group_strength, clip, check), scope);
        };
        const auto sums = float32 ? run(0.0f) : run(0.0);
        state["step"] = next;
        return sums;
      },
      py::arg("tensors"), py::arg("rule"), py::arg("rule_scalars"), py::arg("group_strength"),
      py::arg("clip_norm"), py::arg("clip_value"), py::arg("clip_ratio"), py::arg("check_finite"),
      py::arg("state"), py::arg("stream"), py::arg("stream_owner"));
}

}  // namespace normrnn::bindings
