// Options of forward and backward passes, as Python has them, alike on the CPU and on devices.
#pragma once

#include "network.h"

namespace normrnn::bindings {

// Sets the steps and sequences of x, and refuses it where its width is not that of weight_ih_l0.
void take_dims(const Dims& x, bool batch_first, Shape& shape);

// [B], each from 0 to the steps of x; empty where left out.
std::vector<int64_t> lengths_in(const py::object& given, const Shape& shape);

// Refuses c0 or dc_n, the argument `name`, for a cell with one state.
void check_second_state(const char* name, const py::object& given, const Layout& net);

// What nr.Dropout holds, as functional.forward hands it over: its probabilities, already checked,
// and per_sequence; here against the cell and the call.
Dropout dropout_in(const py::object& object, const py::object& seed, bool training,
                   const Layout& net, bool frozen, bool need_grad);

// [L*D] lists of (kernel's name, scalars): the strength, for Omega squared and floor, too.
std::vector<std::vector<StatePenalty>> read_state_penalties(const py::object& given);

}  // namespace normrnn::bindings
