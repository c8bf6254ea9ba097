#pragma once

#include <pybind11/pybind11.h>

namespace normrnn::bindings {

void register_config(pybind11::module_& m);
void register_sequence(pybind11::module_& m);
void register_head(pybind11::module_& m);
void register_losses(pybind11::module_& m);
void register_update(pybind11::module_& m);
void register_cuda(pybind11::module_& m);  // with the next two
void register_device_sequence(pybind11::module_& m);
void register_device_update(pybind11::module_& m);

}  // namespace normrnn::bindings
