#include "ops/cuda/timer.h"

#include <chrono>

namespace tsugi::cuda {

struct TimerState {
  struct Points {
    std::chrono::steady_clock::time_point begin, end;
  };
  /// Shared with what a stream still has to do: a timer may go before, as on a device.
  std::shared_ptr<Points> points = std::make_shared<Points>();
};

Timer::Timer() : state_(std::make_unique<TimerState>()) {}
Timer::~Timer() = default;
void Timer::start(Stream& stream) {
  enqueue(stream, [points = state_->points] { points->begin = std::chrono::steady_clock::now(); });
}
void Timer::stop(Stream& stream) {
  enqueue(stream, [points = state_->points] { points->end = std::chrono::steady_clock::now(); });
}
double Timer::seconds() const {
  return std::chrono::duration<double>(state_->points->end - state_->points->begin).count();
}

}  // namespace tsugi::cuda
