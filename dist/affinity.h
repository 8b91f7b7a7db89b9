// CPUs: which ones this process may use, and how the ranks of a host share them.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tsugi {

/// The CPUs that the calling thread may run on, ascending.
std::vector<int> allowed_cpus();
/// Lets the calling thread, and threads that it starts later, run on these CPUs. A refusal costs speed, not results.
void allow_cpus(const std::vector<int>& cpus);
/// Lets the calling thread run where the mpirun (or its daemon) above it may, which may itself be held to some CPUs
/// (taskset, a cpuset); wherever the job's cpuset allows where there is none.
void allow_cpus_of_launcher();

/// Hardware threads of one core have the same place.
struct CpuPlace {
  int package = 0;
  int core = 0;
  auto operator<=>(const CpuPlace&) const = default;
};
/// What the kernel says of a CPU (its own core where it says nothing).
CpuPlace place_of_cpu(int cpu);

/// What belongs to one rank.
struct CpuShare {
  std::vector<int> cpus;  ///< empty: not pinned
  int threads = 1;        ///< how many fit
};

/// The share of local rank `local_rank` on a host where local rank i may use the CPUs `allowed[i]`.
/// If all may use the same CPUs, they are cut evenly, whole cores together; more ranks than CPUs are not pinned and get
/// one thread. If the launcher gave each rank its own CPUs, these are kept. If they overlap, nobody is pinned. The CPUs
/// of a share are in the order in which threads should take them: one per core first.
CpuShare share_of_cpus(const std::vector<std::vector<int>>& allowed, int local_rank,
                       const std::function<CpuPlace(int)>& place = place_of_cpu);

/// "0-3,8"
std::string describe_cpus(std::vector<int> cpus);
/// The inverse of describe_cpus().
std::vector<int> parse_cpus(const std::string& list);

}  // namespace tsugi
