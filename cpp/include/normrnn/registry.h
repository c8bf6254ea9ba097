// The names of what can be asked for, in the order of the .def lists.
#pragma once

#include <string>
#include <vector>

namespace normrnn {

struct CellFacts {
  std::string name;
  int gates, states;
  bool candidate;  // has one that can be dropped
};
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
