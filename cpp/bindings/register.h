#pragma once

#include <pybind11/pybind11.h>

namespace normrnn::bindings {

// For py::class_: Python cannot make one.
inline pybind11::custom_type_setup not_from_python() {
  return pybind11::custom_type_setup([](PyHeapTypeObject* type) {
    type->ht_type.tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
    type->ht_type.tp_new = nullptr;
  });
}

void register_config(pybind11::module_& m);
void register_sequence(pybind11::module_& m);
void register_head(pybind11::module_& m);
void register_losses(pybind11::module_& m);
void register_update(pybind11::module_& m);
void register_cuda(pybind11::module_& m);  // with the next two
void register_device_sequence(pybind11::module_& m);
void register_device_update(pybind11::module_& m);

}  // namespace normrnn::bindings
