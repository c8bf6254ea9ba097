// Independently recurrent network (Li et al., arXiv:1803.04831): an Elman cell whose units see no
// state but their own, h = phi(U x + b_ih + u h + b_hh) with a vector u. docs/equations.md#indrnn
#pragma once

#include "cells/elman.h"

namespace normrnn::NORMRNN_TARGET {

template <class Activation>
struct IndRnn : Elman<Activation> {
  static constexpr bool kDiagonal = true;
};

}  // namespace normrnn::NORMRNN_TARGET
