#include "cpu/cgroup.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

namespace normrnn {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& parts, const std::string& part) {
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

// A mounted hierarchy that has the CPU controller, or may have it.
struct Mount {
  bool v2;
  std::string point;  // where it is mounted
  std::string group;  // what is mounted there: "/", or the outermost group that a container sees
};

// Lines "36 35 98:0 group point options [optional]... - type source superoptions".
std::vector<Mount> mounts(const std::string& root) {
  std::vector<Mount> found;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    const bool v2 = dash[1] == "cgroup2";
    if (v2 || (dash[1] == "cgroup" && contains(split(dash[3], ','), "cpu"))) {
      found.push_back({v2, fields[4], fields[3] == "/" ? "" : fields[3]});
    }
  }
  return found;
}

// The process's own group, from lines "0::/path" (v2) and "4:cpu,cpuacct:/path" (v1).
std::string own_group(const std::string& root, bool v2) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? controllers.empty() : contains(split(controllers, ','), "cpu")) {
      return line.substr(second + 1);
    }
  }
  return "";
}

// Quota over period of the group in a folder, or 0: "max 100000" and -1 stand for no quota.
double quota(const std::string& folder, bool v2) {
  std::string amount;
  double period = 0;
  if (v2) {
    std::ifstream(folder + "/cpu.max") >> amount >> period;
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> amount;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  const double time = std::atof(amount.c_str());  // 0 for "max"
  return time > 0 && period > 0 ? time / period : 0;
}

}  // namespace

int cgroup_cpus(const std::string& root) {
  double least = 0;
  for (const Mount& mount : mounts(root)) {
    std::string group = own_group(root, mount.v2);
    // A container may be told the host's names: then what is mounted is not "/", but the name that
    // its own group begins with. A group outside of what is mounted can be seen at the top only.
    const size_t length = mount.group.size();
    const bool within = group.compare(0, length, mount.group) == 0 &&
                        (group.size() == length || group[length] == '/') &&
                        group.find("/..") == std::string::npos;
    group = within ? group.substr(length) : "";
    for (;;) {
      const double cpus = quota(root + mount.point + group, mount.v2);
      if (cpus > 0 && (least == 0 || cpus < least)) least = cpus;
      const size_t slash = group.rfind('/');
      if (slash == std::string::npos) break;
      group.resize(slash);
    }
  }
  return int(std::min(std::ceil(least), 1e6));
}

}  // namespace normrnn
