// How long a sweep will take on this host.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "core/config/run.pb.h"
#include "launch/sweep/sweep_task.h"

namespace tsugi {

/// Seconds until the last task has ended when each takes its FLOPs at this rate, `lanes` side by side, the one with the
/// longest chain of those that may begin first: as execute_locally() deals them out.
double predicted_seconds(std::span<const SweepTask> tasks, int lanes, double flops_per_second);

/// A sweep's predicted length, and what it rests on.
struct WallTime {
  int lanes = 1;                  ///< runs side by side, of one thread each
  double flops_per_second = 0.0;  ///< of one run
  double matmul_rate = 0.0;       ///< FLOP/s that matmul() reaches here with one thread; 0: the rate was given
  double mfu = 0.0;               ///< its share that runs are taken to reach
  double seconds = 0.0;
};

/// With `lanes` 0: one for each CPU that this process may use. `flops_per_second` 0: `mfu` of the rate of matrix
/// products, measured now in the type that `base` computes in (core/scaling/machine_rate.h).
WallTime predict_wall_time(std::span<const SweepTask> tasks, const RunConfig& base, int lanes, double flops_per_second,
                           double mfu);

nlohmann::ordered_json wall_time_json(const WallTime& time);
std::string wall_time_text(const WallTime& time);

}  // namespace tsugi
