// How many CPUs' worth of time the control groups of this process grant.
#pragma once

#include <string>

namespace normrnn {

// The least quota, rounded up to whole CPUs and at least 1, among the process's group and those it
// lies in; 0 if there is none. Knows version 2 (cpu.max), version 1 (cpu.cfs_quota_us) and both
// side by side. `root` stands before every file name, for tests.
int cgroup_cpus(const std::string& root = "");

}  // namespace normrnn
