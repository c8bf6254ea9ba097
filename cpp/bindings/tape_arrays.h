// What a tape holds as arrays in the caller's order of sequences and of time, for looking at.
#pragma once

#include "arrays.h"
#include "tape.h"

namespace normrnn::bindings {

// Each is a copy, time first whatever the caller's layout, and zero past a sequence's end.
template <class T>
py::tuple tape_states(const Tape<T>& tape, const py::object& layer, const py::object& direction);
template <class T>
py::array tape_gates(const Tape<T>& tape, const py::object& layer, const py::object& direction);

py::array_t<int64_t> tape_lengths(const Shape& shape, const Schedule& schedule);  // [B]

}  // namespace normrnn::bindings
