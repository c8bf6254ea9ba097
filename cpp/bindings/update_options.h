// What Python tells an update, alike on the CPU and on devices.
//
// A penalty on each weight is (name, scalars, centre or None, weights or None, prox) or None, and one
// on groups is (name, axis, first group, prox) or None.
#pragma once

#include <limits>

#include "arrays.h"
#include "normrnn/registry.h"

namespace normrnn::bindings {

// What an array is to the update, for messages, which are put together only when needed.
enum Role : int { kParam = -5, kGrad, kCenter, kFactor, kPull, kSlot };  // slot s: kSlot + s
std::string label(int role, const std::string& name);
inline bool is_written(int role) { return role == kParam || role >= kSlot; }

// Memory that one array takes.
struct Span {
  const char* begin;
  const char* end;
  int role;
  size_t tensor;
  bool written() const { return is_written(role); }
};
void refuse_overlap(std::vector<Span>& spans, const std::vector<std::string>& names);

// How gradients are held; None: not at all.
struct Clip {
  double norm, value, ratio;
};
inline double limit_of(const py::object& limit) {
  return limit.is_none() ? std::numeric_limits<double>::infinity() : limit.cast<double>();
}

// group_strength: an array rather than a list, which would be read one Python float at a time.
template <class T>
UpdateCall<T> update_call(int rule, const py::sequence& rule_scalars,
                          const py::array& group_strength, const Clip& clip, bool check_finite);

// Of the parameter `name`; but for its arrays.
template <class T>
void read_penalty(const std::string& name, const py::tuple& penalty, UpdateTensor<T>& at);
template <class T>
void read_groups(const py::object& penalty, int64_t groups, UpdateTensor<T>& at);

}  // namespace normrnn::bindings
