#include "launch/sweep/wall_time.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <queue>
#include <utility>
#include <vector>

#include "core/scaling/machine_rate.h"
#include "core/train/engine.h"
#include "dist/affinity.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

std::string duration_text(double seconds) {
  constexpr double kMinute = 60.0, kHour = 3600.0, kDay = 86400.0;
  if (seconds < 2 * kMinute) return short_number(seconds) + " s";
  if (seconds < 2 * kHour) return short_number(seconds / kMinute) + " min";
  if (seconds < 2 * kDay) return short_number(seconds / kHour) + " h";
  return short_number(seconds / kDay) + " days";
}

}  // namespace

double predicted_seconds(std::span<const SweepTask> tasks, int lanes, double flops_per_second) {
  std::vector<std::vector<size_t>> waits_for(tasks.size());
  std::priority_queue<std::pair<double, size_t>> ready;  // by chain
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].after < 0) {
      ready.emplace(tasks[i].chain, i);
    } else {
      waits_for[static_cast<size_t>(tasks[i].after)].push_back(i);
    }
  }
  using End = std::pair<double, size_t>;
  std::priority_queue<End, std::vector<End>, std::greater<>> running;
  double now = 0.0;
  while (true) {
    while (!ready.empty() && running.size() < static_cast<size_t>(lanes)) {
      const size_t next = ready.top().second;
      ready.pop();
      running.emplace(now + tasks[next].flops / flops_per_second, next);
    }
    if (running.empty()) return now;
    const auto [end, ended] = running.top();
    running.pop();
    now = end;
    for (const size_t i : waits_for[ended]) ready.emplace(tasks[i].chain, i);
  }
}

WallTime predict_wall_time(std::span<const SweepTask> tasks, const RunConfig& base, int lanes, double flops_per_second,
                           double mfu) {
  WallTime time;
  time.lanes = lanes > 0 ? lanes : static_cast<int>(allowed_cpus().size());
  time.flops_per_second = flops_per_second;
  if (flops_per_second <= 0.0) {
    ThreadPool pool(1);
    HeapMemory memory;
    time.matmul_rate = measure_matmul_rate(Context({}, pool, memory), compute_type(base));
    time.mfu = mfu;
    time.flops_per_second = mfu * time.matmul_rate;
  }
  time.seconds = predicted_seconds(tasks, time.lanes, time.flops_per_second);
  return time;
}

nlohmann::ordered_json wall_time_json(const WallTime& time) {
  nlohmann::ordered_json json{
      {"seconds", time.seconds}, {"runs_side_by_side", time.lanes}, {"flops_per_second", time.flops_per_second}};
  if (time.matmul_rate > 0.0) {
    json["mfu"] = time.mfu;
    json["matmul_flops_per_second"] = time.matmul_rate;
  }
  return json;
}

std::string wall_time_text(const WallTime& time) {
  constexpr double kGiga = 1e9;
  std::string text = "predicted: " + duration_text(time.seconds) + " with " + std::to_string(time.lanes) +
                     " runs side by side, each at " + short_number(time.flops_per_second / kGiga) + " GFLOP/s (";
  if (time.matmul_rate <= 0.0) return text + "--gflops)";
  return text + percent(time.mfu) + " of the " + short_number(time.matmul_rate / kGiga) +
         " that a matrix product reaches here on one CPU; --mfu or --gflops say otherwise)";
}

}  // namespace tsugi
