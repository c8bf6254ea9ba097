// The contract of an elementwise penalty R(w) = sum r(w): value, gradient, proximal map.
//
//   struct MyPenalty {
//     template <class V> static V value(V w, V center, const V* scalar);     // r(w)
//     template <class V> static V gradient(V w, V center, const V* scalar);  // r'(w)
//     template <class V> static V prox(V w, V center, V step, const V* scalar);
//                                            // argmin over u of step r(u) + (u - w)^2 / 2
//   };
//
// scalar[] holds the float fields of the penalty's Python class, in their order; center is 0 where
// the penalty has no centre.
#pragma once

#include "elementary.h"

namespace normrnn::NORMRNN_TARGET {

template <class V>
NORMRNN_INLINE V sign(V w) {
  return w > 0 ? V{} + 1 : (w < 0 ? V{} - 1 : w);  // 0 and NaN stay
}

// S(w, t): towards zero by t, and zero within t of it.
template <class V>
NORMRNN_INLINE V soft_threshold(V w, V t) {
  const V shrunk = abs(w) - t;
  return shrunk > 0 ? sign(w) * shrunk : (w == w ? V{} : w);
}

}  // namespace normrnn::NORMRNN_TARGET
