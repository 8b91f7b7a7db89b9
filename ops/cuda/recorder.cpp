// Recorded work is a CUDA graph.
#include <map>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/tensor/work_recorder.h"

namespace tsugi::cuda {
namespace {

class Recorder : public WorkRecorder {
 public:
  explicit Recorder(Operators& operators) : operators_(operators) {}

  bool has(const void* key) const override { return graphs_.contains(key); }

  void record(const void* key, const std::function<void()>& work) override {
    CHECK(!has(key));
    Recorded recorded{std::make_unique<Graph>(), Buffer(sizeof(DeviceLossSum))};
    operators_.begin_recording(recorded.sum.data());
    recorded.graph->begin_capture(operators_.stream());
    work();
    recorded.graph->end_capture(operators_.stream());
    operators_.end_recording();
    graphs_.emplace(key, std::move(recorded));
  }

  LossSum launch(const void* key) override {
    const Recorded& recorded = graphs_.at(key);
    recorded.graph->launch(operators_.stream());
    DeviceLossSum sum;
    operators_.copy_to_host(&sum, recorded.sum.data(), sizeof(sum));
    return {sum.sum, sum.count, sum.z_loss, sum.smoothing};
  }

 private:
  struct Recorded {
    std::unique_ptr<Graph> graph;
    Buffer sum;  ///< a DeviceLossSum
  };
  Operators& operators_;
  std::map<const void*, Recorded> graphs_;
};

}  // namespace

void Operators::begin_recording(void* sum) {
  CHECK(recorded_sum_ == nullptr);
  recorded_sum_ = sum;
  recorded_sums_ = 0;
}

void Operators::end_recording() {
  recorded_sum_ = nullptr;
  CHECK_EQ(recorded_sums_, 1) << "recorded work forms one cross-entropy";
}

std::unique_ptr<WorkRecorder> make_recorder(DeviceOperators& operators) {
  return std::make_unique<Recorder>(dynamic_cast<Operators&>(operators));
}

}  // namespace tsugi::cuda
