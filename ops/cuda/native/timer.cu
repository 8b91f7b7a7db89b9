// Timers are pairs of events that note the time.
#include "ops/cuda/timer.h"

namespace tsugi::cuda {

struct TimerState {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
};

Timer::Timer() : state_(std::make_unique<TimerState>()) {
  check(cudaEventCreate(&state_->begin), "an event");
  check(cudaEventCreate(&state_->end), "an event");
}
Timer::~Timer() {
  cudaEventDestroy(state_->begin);
  cudaEventDestroy(state_->end);
}
void Timer::start(Stream& stream) { check(cudaEventRecord(state_->begin, native(stream)), "an event"); }
void Timer::stop(Stream& stream) { check(cudaEventRecord(state_->end, native(stream)), "an event"); }
double Timer::seconds() const {
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, state_->begin, state_->end), "the time between two events");
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace tsugi::cuda
