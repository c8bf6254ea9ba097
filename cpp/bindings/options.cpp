#include "options.h"

#include <pybind11/stl.h>

#include <algorithm>

namespace normrnn::bindings {
namespace {

// In the order of StatePenaltyKind.
constexpr const char* kStatePenalties[] = {"activity_l1", "activity_l2",     "ar",
                                           "tar",         "norm_stabilizer", "omega"};

}  // namespace

Dropout dropout_in(const py::object& object, const py::object& seed, bool training,
                   const Layout& net, bool frozen, bool need_grad) {
  Dropout dropout;
  dropout.training = training;
  if (!seed.is_none()) dropout.seed = seed_in("seed", seed);
  if (object.is_none()) return dropout;
  const auto field = [&](const char* name) { return object.attr(name).cast<double>(); };
  dropout.input = field("input");
  dropout.output = field("output");
  dropout.between = field("between");
  dropout.state = field("state");
  dropout.candidate = field("candidate");
  dropout.weight = field("weight");
  dropout.zoneout[0] = field("zoneout_h");
  dropout.zoneout[1] = field("zoneout_c");
  dropout.per_sequence = object.attr("per_sequence").cast<bool>();
  const double sum = dropout.input + dropout.output + dropout.between + dropout.state +
                     dropout.candidate + dropout.weight + dropout.zoneout[0] + dropout.zoneout[1];
  const auto refuse = [&](const std::string& name, const std::string& expected) {
    refuse_value("dropout." + name, expected, py::str(object.attr(name.c_str())));
  };
  if (dropout.candidate > 0 && !net.cell.candidate) {
    refuse("candidate", "0 for the cell '" + net.cell.name + "', which has no candidate");
  }
  if (dropout.zoneout[1] > 0 && net.cell.states < 2) {
    refuse("zoneout_c", "0 for the cell '" + net.cell.name + "', which has one state");
  }
  if (training && dropout.weight > 0 && frozen) {
    refuse("weight", "0 with frozen params, which are packed already");
  }
  if (training && sum > 0 && seed.is_none()) {
    refuse_type("seed", "an integer from 0 to 2**64 - 1 with dropout in training", "NoneType");
  }
  if (!training && need_grad && dropout.zoneout[0] + dropout.zoneout[1] > 0) {
    refuse_value("need_grad", "False for zoneout with training=False", "True");
  }
  return dropout;
}

std::vector<std::vector<StatePenalty>> read_state_penalties(const py::object& given) {
  std::vector<std::vector<StatePenalty>> all;
  if (given.is_none()) return all;
  for (const py::handle& run : given) {
    all.emplace_back();
    for (const py::handle& item : run) {
      const auto [kernel, scalars] = item.cast<std::pair<std::string, std::vector<double>>>();
      const auto* const found =
          std::find(std::begin(kStatePenalties), std::end(kStatePenalties), kernel);
      if (found == std::end(kStatePenalties)) {
        refuse_value("state_penalty", "a kernel of the core", "'" + kernel + "'");
      }
      StatePenalty one{StatePenaltyKind(found - std::begin(kStatePenalties)), scalars.at(0)};
      if (one.kind == StatePenaltyKind::kOmega) {
        one.squared = scalars.at(1) != 0;
        one.floor = scalars.at(2);
      }
      all.back().push_back(one);
    }
  }
  return all;
}

}  // namespace normrnn::bindings
