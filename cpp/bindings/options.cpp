#include "options.h"

#include <pybind11/stl.h>

#include <algorithm>

namespace normrnn::bindings {
namespace {

// In the order of StatePenaltyKind.
constexpr const char* kStatePenalties[] = {"activity_l1", "activity_l2",     "ar",
                                           "tar",         "norm_stabilizer", "omega"};

}  // namespace

void take_dims(const Dims& x, bool batch_first, Shape& shape) {
  shape.times = x[batch_first ? 1 : 0];
  shape.batch = x[batch_first ? 0 : 1];
  const Dims expected = sequence_dims(shape, batch_first, shape.input);
  if (x != expected) {
    refuse_value("x", "shape " + text_of(expected) + ", its last length that of weight_ih_l0",
                 text_of(x));
  }
}

std::vector<int64_t> lengths_in(const py::object& given, const Shape& shape) {
  if (given.is_none()) return {};
  const py::array array = input<int64_t>("lengths", given, {py::ssize_t(shape.batch)});
  const std::vector<int64_t> lengths(data<int64_t>(array), data<int64_t>(array) + shape.batch);
  for (int64_t b = 0; b < shape.batch; ++b) {
    if (lengths[size_t(b)] >= 0 && lengths[size_t(b)] <= shape.times) continue;
    refuse_value("lengths", "values from 0 to " + std::to_string(shape.times) + ", the steps of x",
                 std::to_string(lengths[size_t(b)]) + " at index " + std::to_string(b));
  }
  return lengths;
}

void check_second_state(const char* name, const py::object& given, const Layout& net) {
  if (net.cell.states > 1 || given.is_none()) return;
  refuse_type(name, "None for the cell '" + net.cell.name + "', which has one state",
              type_of(given));
}

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
