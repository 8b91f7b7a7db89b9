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
    auto graph = std::make_unique<Graph>();
    operators_.begin_recording();
    graph->begin_capture(operators_.stream());
    work();
    graph->end_capture(operators_.stream());
    graphs_.emplace(key, Recorded{std::move(graph), operators_.end_recording()});
  }

  LossSum launch(const void* key) override {
    const Recorded& recorded = graphs_.at(key);
    recorded.graph->launch(operators_.stream());
    DeviceLossSum sum;
    operators_.copy_to_host(&sum, recorded.sum, sizeof(sum));
    return {sum.sum, sum.count, sum.z_loss, sum.smoothing};
  }

 private:
  struct Recorded {
    std::unique_ptr<Graph> graph;
    const void* sum = nullptr;  ///< where the cross-entropy leaves its DeviceLossSum
  };
  Operators& operators_;
  std::map<const void*, Recorded> graphs_;
};

}  // namespace

void Operators::begin_recording() {
  CHECK(!recording_);
  recording_ = true;
  recorded_sums_.clear();
}

const void* Operators::end_recording() {
  recording_ = false;
  CHECK_EQ(recorded_sums_.size(), 1u) << "recorded work forms one cross-entropy";
  return recorded_sums_[0];
}

std::unique_ptr<WorkRecorder> make_recorder(DeviceOperators& operators) {
  return std::make_unique<Recorder>(dynamic_cast<Operators&>(operators));
}

}  // namespace tsugi::cuda
