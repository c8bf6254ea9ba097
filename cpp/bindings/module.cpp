// The extension module normrnn._core: each concept registers itself.
#include "register.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of normrnn; use the functions of the package instead.";
  normrnn::bindings::register_config(m);
  normrnn::bindings::register_sequence(m);
  normrnn::bindings::register_head(m);
  normrnn::bindings::register_losses(m);
  normrnn::bindings::register_update(m);
  normrnn::bindings::register_cuda(m);
}
