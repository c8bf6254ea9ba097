#include "tape_arrays.h"

#include <algorithm>
#include <cstring>

namespace normrnn::bindings {
namespace {

int64_t index_in(const std::string& name, const py::object& object, int count) {
  if (!PyIndex_Check(object.ptr()) || py::isinstance<py::bool_>(object) ||
      py::isinstance<py::array>(object)) {
    refuse_type(name, "an integer", type_of(object));
  }
  const auto number = py::reinterpret_steal<py::int_>(PyNumber_Index(object.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long index = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow || index < 0 || index >= count) {
    refuse_value(name, "an integer from 0 to " + std::to_string(count - 1), py::str(number));
  }
  return index;
}

template <class T>
const LayerTape<T>& layer_of(const Tape<T>& tape, const py::object& layer,
                             const py::object& direction) {
  const int64_t l = index_in("layer", layer, tape.shape.layers);
  const int64_t d = index_in("direction", direction, tape.shape.directions);
  return tape.at(int(l), int(d));
}

// Packed rows of `parts` pieces of H numbers, `ld` apart, as [T, B, parts, H].
template <class T>
void unpack(const Tape<T>& tape, const T* packed, int parts, int64_t row_ld, T* out) {
  const Schedule& schedule = tape.schedule;
  const int64_t hidden = tape.shape.hidden, width = parts * hidden;
  for (int64_t t = 0; t < tape.shape.times; ++t) {
    T* const block = out + t * tape.shape.batch * width;  // [B, parts, H]
    const int64_t running = t < schedule.times ? schedule.rows_at(t) : 0;
    for (int64_t r = 0; r < running; ++r) {
      const T* const row = packed + (schedule.offset[size_t(t)] + r) * row_ld;
      for (int p = 0; p < parts; ++p) {
        std::memcpy(block + schedule.order[size_t(r)] * width + p * hidden, row + p * tape.state_ld,
                    size_t(hidden) * sizeof(T));
      }
    }
    for (int64_t r = running; r < tape.shape.batch; ++r) {
      std::fill_n(block + schedule.order[size_t(r)] * width, width, T{});
    }
  }
}

template <class T>
const T* steps_of(const Tape<T>& tape, const LayerTape<T>& layer, int state) {
  return layer.state[state].get() + tape.shape.batch * tape.state_ld;  // behind the initial block
}

}  // namespace

template <class T>
py::tuple tape_states(const Tape<T>& tape, const py::object& layer, const py::object& direction) {
  const LayerTape<T>& from = layer_of(tape, layer, direction);
  const Shape& s = tape.shape;
  py::tuple states(size_t(tape.cell->states));
  for (int i = 0; i < tape.cell->states; ++i) {
    py::array_t<T> state = make<T>({s.times, s.batch, s.hidden});
    T* const out = state.mutable_data();
    without_gil([&] { unpack(tape, steps_of(tape, from, i), 1, tape.state_ld, out); });
    states[size_t(i)] = state;
  }
  return states;
}

template <class T>
py::array tape_gates(const Tape<T>& tape, const py::object& layer, const py::object& direction) {
  const LayerTape<T>& from = layer_of(tape, layer, direction);
  const Shape& s = tape.shape;
  const int gates = tape.cell->gates;
  py::array_t<T> all = make<T>({s.times, s.batch, gates, s.hidden});
  T* const out = all.mutable_data();
  // A cell that keeps no gates has one, and what it yields is h.
  const bool kept = tape.cell->tape >= gates;
  const T* const rows = kept ? from.gates.get() : steps_of(tape, from, 0);
  const int64_t row_ld = kept ? tape.cell->tape * tape.state_ld : tape.state_ld;
  without_gil([&] { unpack(tape, rows, gates, row_ld, out); });
  return all;
}

py::array_t<int64_t> tape_lengths(const Shape& shape, const Schedule& schedule) {
  py::array_t<int64_t> lengths = make<int64_t>({py::ssize_t(shape.batch)});
  for (int64_t r = 0; r < shape.batch; ++r) {
    lengths.mutable_data()[schedule.order[size_t(r)]] = schedule.length[size_t(r)];
  }
  return lengths;
}

#define NORMRNN_INSTANTIATE(T)                                                             \
  template py::tuple tape_states<T>(const Tape<T>&, const py::object&, const py::object&); \
  template py::array tape_gates<T>(const Tape<T>&, const py::object&, const py::object&);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)

}  // namespace normrnn::bindings
