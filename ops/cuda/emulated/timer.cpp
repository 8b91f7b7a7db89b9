#include "ops/cuda/timer.h"

#include <chrono>

namespace tsugi::cuda {

struct TimerState {
  std::chrono::steady_clock::time_point begin, end;
};

Timer::Timer() : state_(std::make_unique<TimerState>()) {}
Timer::~Timer() = default;
void Timer::start(Stream& stream) {
  enqueue(stream, [state = state_.get()] { state->begin = std::chrono::steady_clock::now(); });
}
void Timer::stop(Stream& stream) {
  enqueue(stream, [state = state_.get()] { state->end = std::chrono::steady_clock::now(); });
}
double Timer::seconds() const { return std::chrono::duration<double>(state_->end - state_->begin).count(); }

}  // namespace tsugi::cuda
