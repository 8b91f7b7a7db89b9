#include "core/optim/schedule.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tsugi {

int64_t resolved_decay_steps(const ScheduleConfig& schedule, int64_t steps) {
  return schedule.decay_steps() > 0 ? schedule.decay_steps() : steps / 5;
}

float learning_rate_at(const OptimizerConfig& optimizer, const ScheduleConfig& schedule, int64_t steps, int64_t step) {
  CHECK_GE(step, 0);
  const double peak = static_cast<double>(optimizer.learning_rate());
  const double end = peak * static_cast<double>(schedule.final_fraction());
  const int64_t warmup = schedule.warmup_steps();
  if (step < warmup) return static_cast<float>(peak * static_cast<double>(step + 1) / static_cast<double>(warmup + 1));

  // How much of the way from `first` to the end of the run is behind this step.
  const auto progress = [&](int64_t first) {
    if (step >= steps) return 1.0;
    return std::max(0.0, static_cast<double>(step - first) / static_cast<double>(steps - first));
  };
  double height = 1.0;  // 1 at the peak, 0 at the end
  switch (schedule.kind()) {
    case ScheduleConfig::COSINE:
      height = 0.5 * (1.0 + std::cos(std::numbers::pi * progress(warmup)));
      break;
    case ScheduleConfig::LINEAR:
      height = 1.0 - progress(warmup);
      break;
    case ScheduleConfig::WSD:
      height = 1.0 - std::sqrt(progress(steps - resolved_decay_steps(schedule, steps)));
      break;
    default:
      CHECK_EQ(schedule.kind(), ScheduleConfig::CONSTANT) << "a schedule that validation let pass";
  }
  return static_cast<float>(end + height * (peak - end));
}

}  // namespace tsugi
