#include "dist/affinity.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <string_view>
#include <thread>

namespace tsugi {
namespace {

bool overlap(const std::vector<int>& a, const std::vector<int>& b) {
  return std::any_of(a.begin(), a.end(), [&](int cpu) { return std::find(b.begin(), b.end(), cpu) != b.end(); });
}

/// Whole cores together: a contiguous part keeps few cores and one package.
std::vector<int> by_core(std::vector<int> cpus, const std::function<CpuPlace(int)>& place) {
  std::stable_sort(cpus.begin(), cpus.end(), [&](int a, int b) { return place(a) < place(b); });
  return cpus;
}

/// The first hardware thread of every core, then the second of every core …
std::vector<int> one_per_core_first(const std::vector<int>& cpus, const std::function<CpuPlace(int)>& place) {
  std::map<CpuPlace, int> seen;
  std::map<int, std::vector<int>> turns;
  for (const int cpu : cpus) turns[seen[place(cpu)]++].push_back(cpu);
  std::vector<int> result;
  for (const auto& [turn, list] : turns) result.insert(result.end(), list.begin(), list.end());
  return result;
}

/// Of a process; 0: of the calling thread.
std::vector<int> allowed_cpus(pid_t process) {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(process, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  } else {  // a kernel for more CPUs than the set holds
    for (int cpu = 0; cpu < static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); ++cpu) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

}  // namespace

std::vector<int> allowed_cpus() { return allowed_cpus(0); }

void allow_cpus(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  }
  sched_setaffinity(0, sizeof(set), &set);
}

void allow_cpus_of_launcher() {
  constexpr std::array<std::string_view, 3> kLaunchers = {"mpirun", "orterun", "orted"};
  for (pid_t process = getppid(); process > 1;) {
    const std::string folder = "/proc/" + std::to_string(process);
    std::string name, line;
    std::getline(std::ifstream(folder + "/comm") >> std::ws, name);
    if (std::ranges::find(kLaunchers, name) != kLaunchers.end()) return allow_cpus(allowed_cpus(process));
    pid_t parent = 0;
    for (std::ifstream status(folder + "/status"); std::getline(status, line);) {
      if (line.starts_with("PPid:")) parent = static_cast<pid_t>(std::atoi(line.c_str() + 5));
    }
    process = parent;
  }
  std::vector<int> all(CPU_SETSIZE);
  std::iota(all.begin(), all.end(), 0);
  allow_cpus(all);  // the kernel takes what is online and inside the cpuset
}

CpuPlace place_of_cpu(int cpu) {
  const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
  CpuPlace place;
  std::ifstream package(folder + "physical_package_id");
  std::ifstream core(folder + "core_id");
  if (!(package >> place.package) || !(core >> place.core)) return {0, cpu};
  return place;
}

CpuShare share_of_cpus(const std::vector<std::vector<int>>& allowed, int local_rank,
                       const std::function<CpuPlace(int)>& place) {
  const std::vector<int>& mine = allowed[local_rank];
  const int cpus = static_cast<int>(mine.size());
  const int ranks = static_cast<int>(allowed.size());
  const bool shared = std::all_of(allowed.begin(), allowed.end(), [&](const auto& other) { return other == mine; });
  if (shared) {
    if (ranks > cpus) return {{}, 1};
    const std::vector<int> ordered = by_core(mine, place);
    const std::vector<int> part(ordered.begin() + cpus * local_rank / ranks,
                                ordered.begin() + cpus * (local_rank + 1) / ranks);
    return {one_per_core_first(part, place), static_cast<int>(part.size())};
  }
  const auto sharers = std::count_if(allowed.begin(), allowed.end(), [&](const auto& o) { return overlap(o, mine); });
  if (sharers > 1) return {{}, std::max(1, cpus / static_cast<int>(sharers))};
  return {one_per_core_first(by_core(mine, place), place), cpus};
}

std::string describe_cpus(std::vector<int> cpus) {
  std::sort(cpus.begin(), cpus.end());
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(cpus[i]);
    if (last > i) text.append("-").append(std::to_string(cpus[last]));
    i = last + 1;
  }
  return text;
}

std::vector<int> parse_cpus(const std::string& list) {
  std::vector<int> cpus;
  std::istringstream stream(list);
  for (std::string range; std::getline(stream, range, ',');) {
    const size_t dash = range.find('-');
    const int first = std::stoi(range);
    const int last = dash == std::string::npos ? first : std::stoi(range.substr(dash + 1));
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace tsugi
