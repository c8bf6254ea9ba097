// Options of forward and backward passes, as Python has them, alike on the CPU and on devices.
#pragma once

#include "network.h"

namespace normrnn::bindings {

// What nr.Dropout holds, as functional.forward hands it over: its probabilities, already checked,
// and per_sequence; here against the cell and the call.
Dropout dropout_in(const py::object& object, const py::object& seed, bool training,
                   const Layout& net, bool frozen, bool need_grad);

// [L*D] lists of (kernel's name, scalars): the strength, for Omega squared and floor, too.
std::vector<std::vector<StatePenalty>> read_state_penalties(const py::object& given);

}  // namespace normrnn::bindings
