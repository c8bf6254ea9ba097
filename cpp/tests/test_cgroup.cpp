// Quotas of CPU time in made-up trees of /proc and /sys/fs/cgroup.
#include "cpu/cgroup.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "check.h"

namespace normrnn::test {
namespace {

const char* const kV2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
const char* const kV1 =
    "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

class Tree {
 public:
  Tree(const std::string& mountinfo, const std::string& cgroup) {
    char name[] = "/tmp/normrnn-test-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    root_ = name;
    write("proc/self/mountinfo", mountinfo);
    write("proc/self/cgroup", cgroup);
  }
  ~Tree() { std::filesystem::remove_all(root_); }
  Tree(const Tree&) = delete;

  Tree& write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = std::filesystem::path(root_) / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return *this;
  }
  Tree& v2(const std::string& group, const std::string& text) {
    return write("sys/fs/cgroup" + group + "/cpu.max", text + "\n");
  }
  Tree& v1(const std::string& group, const std::string& quota) {
    const std::string folder = "sys/fs/cgroup/cpu,cpuacct" + group;
    return write(folder + "/cpu.cfs_period_us", "100000\n")
        .write(folder + "/cpu.cfs_quota_us", quota + "\n");
  }
  int cpus() const { return cgroup_cpus(root_); }

 private:
  std::string root_;
};

void check_version_2() {
  CHECK(Tree(kV2, "0::/\n").cpus() == 0);
  CHECK(Tree(kV2, "0::/\n").v2("", "300000 100000").cpus() == 3);  // a container of its own
  Tree tree(kV2, "0::/a/b/c\n");
  CHECK(tree.v2("/a/b/c", "max 100000").cpus() == 0);
  CHECK(tree.v2("/a", "250000 100000").cpus() == 3);     // rounded up
  CHECK(tree.v2("/a/b", "1000000 100000").cpus() == 3);  // the least of those around it
  CHECK(tree.v2("/a/b/c", "100000 50000").cpus() == 2);
  CHECK(tree.v2("/other", "500 100000").cpus() == 2);
  CHECK(tree.v2("/a/b/c", "1000 100000").cpus() == 1);
  CHECK(Tree(kV2, "0::/a\n").v2("/ab", "100000 100000").cpus() == 0);
}

void check_version_1() {
  const char* const group = "9:name=systemd:/a/b\n3:cpuset:/x\n1:cpu,cpuacct:/a/b\n";
  CHECK(Tree(kV1, group).cpus() == 0);
  CHECK(Tree(kV1, group).v1("/a/b", "-1").cpus() == 0);
  CHECK(Tree(kV1, group).v1("/a/b", "-1").v1("/a", "150000").cpus() == 2);
  CHECK(Tree(kV1, group).v1("", "-1").v1("/a/b", "400000").cpus() == 4);
  CHECK(Tree(kV1, group).v1("/x", "100000").cpus() == 0);  // another controller's group
}

// Version 2 is there for the system's own use, the controllers are those of version 1.
void check_both() {
  const std::string mountinfo = std::string(kV1) + "41 31 0:37 / /v2 rw - cgroup2 cgroup2 rw\n";
  CHECK(Tree(mountinfo, "1:cpu,cpuacct:/a\n0::/b\n").v1("/a", "200000").cpus() == 2);
}

// A container that sees the host's names, with only its own group mounted; and one that was
// moved out of what it can see.
void check_names_of_another_place() {
  const char* const mounted = "33 31 0:29 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
  CHECK(Tree(mounted, "0::/docker/1\n").v2("", "200000 100000").cpus() == 2);
  CHECK(Tree(mounted, "0::/docker/1/in\n").v2("/in", "500000 100000").cpus() == 5);
  CHECK(Tree(mounted, "0::/docker/10\n").v2("", "200000 100000").v2("0", "100000 100000").cpus() ==
        2);
  CHECK(Tree(mounted, "0::/elsewhere\n").v2("", "200000 100000").cpus() == 2);
  CHECK(Tree(kV2, "0::/../up\n").v2("", "200000 100000").cpus() == 2);
}

void check_nonsense() {
  CHECK(Tree("", "").cpus() == 0);
  CHECK(Tree("- - -\n1 2 3\n\n", "::\nx\n").cpus() == 0);
  CHECK(Tree(kV2, "0::/\n").v2("", "abc def").cpus() == 0);
  CHECK(Tree(kV2, "0::/\n").v2("", "100000 0").cpus() == 0);
  CHECK(Tree(kV2, "0::/\n").v2("", "1e300 1").cpus() == 1000000);
}

void tests() {
  check_version_2();
  check_version_1();
  check_both();
  check_names_of_another_place();
  check_nonsense();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
