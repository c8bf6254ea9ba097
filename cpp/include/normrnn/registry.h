// The names of what can be asked for, in the order of the .def lists.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace normrnn {

struct CellFacts {
  std::string name;
  int gates, states;  // gates: row blocks of the weights
  bool candidate;     // has one that can be dropped
  bool layer_norm;    // U x and W h are normalised, and have gains
  bool norms_state;   // the cell state c, too
  bool diagonal;      // weight_hh is a vector
};

// A parameter of one direction of one layer; names begin with `kind`, as in "weight_ih_l0".
enum class ParameterKind : int {
  kWeightIh,
  kWeightHh,
  kBiasIh,
  kBiasHh,
  kGainIh,
  kGainHh,
  kGainC,
  kBiasC
};
constexpr int kKinds = 8;
const char* kind_name(ParameterKind kind);  // "weight_ih"

// Those that a cell has, in the order in which they are listed everywhere, and their shapes: the
// only place that knows. `inputs` is the number of columns of weight_ih.
std::vector<ParameterKind> kinds_of(const CellFacts& cell, bool bias);
std::vector<int64_t> shape_of(const CellFacts& cell, ParameterKind kind, int64_t inputs,
                              int64_t hidden);

struct RuleFacts {
  std::string name;
  int slots;
  bool uniform_step;
};

const std::vector<CellFacts>& cells();
const std::vector<RuleFacts>& rules();
const std::vector<std::string>& cell_names();
const std::vector<std::string>& rule_names();
const std::vector<std::string>& penalty_names();
const std::vector<std::string>& group_names();

std::string joined(const std::vector<std::string>& names);  // 'a', 'b', 'c'

// Throws std::invalid_argument: "<what>: expected one of 'a', 'b', got 'x'".
int index_of(const std::string& what, const std::vector<std::string>& names,
             const std::string& name);

}  // namespace normrnn
