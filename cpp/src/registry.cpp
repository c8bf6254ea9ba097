#include "normrnn/registry.h"

#include <algorithm>
#include <stdexcept>

// The definitions are read once more, in a namespace of their own, for their compile-time facts.
#define NORMRNN_TARGET facts
#define NORMRNN_VECTOR_BYTES 16
#define NORMRNN_ACCUMULATORS 1
#include "cells/cells.def"
#include "groups/groups.def"
#include "penalties/penalties.def"
#include "rules/rules.def"

namespace normrnn {
namespace {

using namespace facts;

template <class Facts>
std::vector<std::string> names_of(const std::vector<Facts>& all) {
  std::vector<std::string> names;
  for (const Facts& one : all) names.push_back(one.name);
  return names;
}

}  // namespace

const std::vector<CellFacts>& cells() {
#define NORMRNN_CELL(name, type) \
  {name,                         \
   Products<type>::kGates,       \
   type::kStates,                \
   type::kCandidate,             \
   kHasLayerNorm<type>,          \
   kNormsState<type>,            \
   kIsDiagonal<type>},
  static const std::vector<CellFacts> all = {
#include "cells/cells.def"
  };
  return all;
}

const char* kind_name(ParameterKind kind) {
  static constexpr const char* kNames[kKinds] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                                 "gain_ih",   "gain_hh",   "gain_c",  "bias_c"};
  return kNames[int(kind)];
}

std::vector<ParameterKind> kinds_of(const CellFacts& cell, bool bias) {
  std::vector<ParameterKind> kinds = {ParameterKind::kWeightIh, ParameterKind::kWeightHh};
  if (bias) kinds.insert(kinds.end(), {ParameterKind::kBiasIh, ParameterKind::kBiasHh});
  if (cell.layer_norm) kinds.insert(kinds.end(), {ParameterKind::kGainIh, ParameterKind::kGainHh});
  if (cell.norms_state) kinds.push_back(ParameterKind::kGainC);
  if (cell.norms_state && bias) kinds.push_back(ParameterKind::kBiasC);
  return kinds;
}

std::vector<int64_t> shape_of(const CellFacts& cell, ParameterKind kind, int64_t inputs,
                              int64_t hidden) {
  const int64_t rows = cell.gates * hidden;
  switch (kind) {
    case ParameterKind::kWeightIh:
      return {rows, inputs};
    case ParameterKind::kWeightHh:
      if (cell.diagonal) return {hidden};
      return {rows, hidden};
    case ParameterKind::kGainC:
    case ParameterKind::kBiasC:
      return {hidden};
    default:
      return {rows};
  }
}

const std::vector<RuleFacts>& rules() {
#define NORMRNN_RULE(name, type) {name, type::kSlots, type::kUniformStep},
  static const std::vector<RuleFacts> all = {
#include "rules/rules.def"
  };
  return all;
}

const std::vector<std::string>& cell_names() {
  static const std::vector<std::string> names = names_of(cells());
  return names;
}

const std::vector<std::string>& rule_names() {
  static const std::vector<std::string> names = names_of(rules());
  return names;
}

const std::vector<std::string>& penalty_names() {
#define NORMRNN_PENALTY(name, type) name,
  static const std::vector<std::string> names = {
#include "penalties/penalties.def"
  };
  return names;
}

const std::vector<std::string>& group_names() {
#define NORMRNN_GROUP(name, type) name,
  static const std::vector<std::string> names = {
#include "groups/groups.def"
  };
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

int index_of(const std::string& what, const std::vector<std::string>& names,
             const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw std::invalid_argument(what + ": expected one of " + joined(names) + ", got '" + name +
                                "'");
  }
  return int(found - names.begin());
}

}  // namespace normrnn
