// The regularised update, in place over dicts of arrays.
#include <pybind11/stl.h>

#include <algorithm>

#include "arrays.h"
#include "normrnn/registry.h"
#include "register.h"
#include "update_options.h"

namespace normrnn::bindings {
namespace {

// What an update is told: see Plan in penalties/plan.py, of which pieces, elements and groups are.
struct Given {
  const py::dict& params;
  const py::object& grads;
  const py::list& slots;  // of dicts
  const py::list &pieces, &elements, &groups;
  const py::dict& pulls;  // by the piece's number
};

bool same_shape(const py::handle& a, const py::handle& b) {
  const auto dims = [](const py::handle& array) {
    return dims_of(py::reinterpret_borrow<py::array>(array));
  };
  return py::isinstance<py::array>(a) && py::isinstance<py::array>(b) && dims(a) == dims(b);
}

// A piece's w, g and slots, and the row of the parameter that it begins with.
struct PieceArrays {
  py::object w, g;
  std::vector<py::object> slots;
  int64_t first_row = 0;

  PieceArrays(const Given& given, const py::tuple& piece) : w(given.params[piece[0]]) {
    g = given.grads[piece[0]];
    for (const py::handle& slot : given.slots) slots.push_back(slot[piece[0]]);
    if (piece[1].is_none()) return;
    first_row = piece[1].attr("start").cast<int64_t>();
    // What does not have the parameter's shape is refused as a whole.
    const auto fits = [&](const py::object& object) { return same_shape(w, object); };
    if (!fits(g) || !std::all_of(slots.begin(), slots.end(), fits)) return;
    w = w[piece[1]];
    g = g[piece[1]];
    for (py::object& slot : slots) slot = slot[piece[1]];
  }
};

template <class T>
py::tuple update_of(const Given& given, int rule, const py::sequence& rule_scalars,
                    const py::array& group_strength, const Clip& clip, bool check_finite,
                    int threads) {
  auto call = update_call<T>(rule, rule_scalars, group_strength, clip, check_finite);
  call.threads = threads;
  std::vector<py::array> kept;  // inputs that may be copies
  std::vector<Span> spans;
  std::vector<std::string> names;
  std::vector<Dims> shapes;
  std::vector<int64_t> first_rows;
  const size_t count = given.pieces.size(), roles = 2 + given.slots.size();
  kept.reserve(count * roles);
  spans.reserve(count * roles);
  names.reserve(count);
  shapes.reserve(count);
  first_rows.reserve(count);
  call.tensors.reserve(count);
  constexpr bool kFloat32 = std::is_same_v<T, float>;
  for (size_t i = 0; i < count; ++i) {
    const auto piece = py::reinterpret_borrow<py::tuple>(given.pieces[i]);
    const PieceArrays arrays(given, piece);
    names.push_back(piece[0].cast<std::string>());
    const std::string& name = names.back();
    const auto take = [&](int role, const py::handle& object, const Dims& dims) {
      const bool written = is_written(role);
      const bool ready = is_ready(object, kFloat32, dims) &&
                         (!written || py::reinterpret_borrow<py::array>(object).writeable());
      const py::array array = ready     ? py::reinterpret_borrow<py::array>(object)
                              : written ? in_place<T>(label(role, name), object, dims)
                                        : input<T>(label(role, name), object, dims);
      const char* begin = static_cast<const char*>(array.data());
      spans.push_back({begin, begin + array.nbytes(), role, names.size() - 1});
      return kept.emplace_back(array);
    };
    UpdateTensor<T> at{};
    if (!py::isinstance<py::array>(arrays.w)) as_array(label(kParam, name), arrays.w);  // throws
    Dims dims = dims_of(py::reinterpret_borrow<py::array>(arrays.w));
    py::array w = take(kParam, arrays.w, dims);
    at.w = mutable_data<T>(w);
    at.size = w.size();
    at.columns = dims.empty() ? 1 : dims.back();
    at.rows = at.columns ? at.size / at.columns : 0;
    at.g = data<T>(take(kGrad, arrays.g, dims));
    for (size_t j = 0; j < arrays.slots.size(); ++j) {
      py::array slot = take(kSlot + int(j), arrays.slots[j], dims);
      at.slot[j] = mutable_data<T>(slot);
    }
    const auto optional = [&](int role, const py::handle& object) -> const T* {
      return object.is_none() ? nullptr : data<T>(take(role, object, dims));
    };
    if (!given.elements[i].is_none()) {
      const auto penalty = py::reinterpret_borrow<py::tuple>(given.elements[i]);
      read_penalty(name, penalty, at);
      at.center = optional(kCenter, penalty[2]);
      at.factor = optional(kFactor, penalty[3]);
    }
    read_groups(given.groups[i], group_strength.size(), at);
    const py::int_ number(i);
    if (!given.pulls.empty() && given.pulls.contains(number))
      at.pull = data<T>(take(kPull, given.pulls[number], dims));
    call.tensors.push_back(at);
    shapes.push_back(std::move(dims));
    first_rows.push_back(arrays.first_row);
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

// Names, shapes and dtypes, as bytes that are alike only where these are; None if something is no
// NumPy array.
py::object layout_of(const py::dict& params) {
  std::string layout;
  layout.reserve(params.size() * 128);
  const auto add = [&](int64_t number) {
    layout.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  for (const auto& [key, w] : params) {
    if (!py::isinstance<py::str>(key)) refuse_type("params", "names that are str", type_of(key));
    if (!py::isinstance<py::array>(w)) return py::none();
    const auto name = key.cast<std::string>();
    const auto array = py::reinterpret_borrow<py::array>(w);
    const py::dtype dtype = array.dtype();
    add(int64_t(name.size()));
    layout += name;
    for (const int64_t number : {int64_t(dtype.num()), int64_t(dtype.itemsize()),
                                 int64_t(dtype.byteorder()), int64_t(array.ndim())}) {
      add(number);
    }
    for (py::ssize_t d = 0; d < array.ndim(); ++d) add(array.shape(d));
  }
  return py::bytes(layout);
}

}  // namespace

void register_update(py::module_& m) {
  m.def("layout_of", layout_of, py::arg("params"));
  m.def(
      "update",
      [](const py::dict& params, const py::object& grads, const py::list& slots,
         const py::list& pieces, const py::list& elements, const py::list& groups,
         const py::dict& pulls, const std::string& rule, const py::sequence& rule_scalars,
         const py::array& group_strength, const py::object& clip_norm, const py::object& clip_value,
         const py::object& clip_ratio, const py::object& check_finite,
         const py::object& num_threads, py::dict& state) {
        const int index = index_of("rule", rule_names(), rule);
        if (int(slots.size()) != rules()[index].slots) {
          refuse_value("state", std::to_string(rules()[index].slots) + " slots",
                       std::to_string(slots.size()));
        }
        const Clip clip{limit_of(clip_norm), limit_of(clip_value), limit_of(clip_ratio)};
        bool float32 = true;
        if (params.size()) {
          const auto [name, w] = *params.begin();
          const std::string argument = label(kParam, name.cast<std::string>());
          float32 = is_float32(argument, as_array(argument, w));
        }
        const py::object next = py::object(state["step"]) + py::int_(1);
        const py::tuple sums =
            (float32 ? update_of<float>
                     : update_of<double>)({params, grads, slots, pieces, elements, groups, pulls},
                                          index, rule_scalars, group_strength, clip,
                                          flag_in("check_finite", check_finite),
                                          threads_of(num_threads));
        state["step"] = next;  // in here, where no interrupt comes between it and the weights
        return sums;
      },
      py::arg("params"), py::arg("grads"), py::arg("slots"), py::arg("pieces"), py::arg("elements"),
      py::arg("groups"), py::arg("pulls"), py::arg("rule"), py::arg("rule_scalars"),
      py::arg("group_strength"), py::arg("clip_norm"), py::arg("clip_value"), py::arg("clip_ratio"),
      py::arg("check_finite"), py::arg("num_threads"), py::arg("state"));
}

}  // namespace normrnn::bindings
