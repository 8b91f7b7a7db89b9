// A recorder of CUDA graphs that says what it was used for.
#pragma once

#include <memory>
#include <utility>

#include "ops/cuda/operators.h"

namespace tsugi::testing {

/// Counts the launches of another recorder.
class CountingRecorder : public WorkRecorder {
 public:
  explicit CountingRecorder(DeviceOperators& operators) : recorder_(cuda::make_recorder(operators)) {}
  bool has(const Key& key) const override { return recorder_->has(key); }
  void record(const Key& key, uint64_t first_sample, const std::function<void()>& work) override {
    ++recorded;
    recorder_->record(key, first_sample, work);
  }
  void cut(std::function<void()> then) override {
    ++cuts;
    recorder_->cut(std::move(then));
  }
  void launch(const Key& key, uint64_t first_sample, const Tensor& loss) override {
    ++launched;
    recorder_->launch(key, first_sample, loss);
  }
  int recorded = 0, cuts = 0, launched = 0;

 private:
  std::unique_ptr<WorkRecorder> recorder_;
};

}  // namespace tsugi::testing
