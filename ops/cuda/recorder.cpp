// Recorded work is a row of CUDA graphs: it is cut where the host has something to do in between.
#include <map>
#include <vector>

#include "ops/cuda/operators.h"
#include "ops/tensor/work_recorder.h"

namespace tsugi::cuda {
namespace {

class Recorder : public WorkRecorder {
 public:
  explicit Recorder(Operators& operators)
      : operators_(operators),
        loss_(Tensor(operators.allocate(2 * sizeof(double)), {2}, DType::kF64)),
        first_sample_(sizeof(uint64_t)) {}

  bool has(const Key& key) const override { return recorded_.contains(key); }

  void record(const Key& key, uint64_t first_sample, const std::function<void()>& work) override {
    CHECK(!has(key));
    pieces_.clear();
    operators_.leave_loss_in(loss_);
    operators_.begin_recording(first_sample_.as<uint64_t>(), first_sample);
    begin_piece();
    work();
    end_piece({});
    operators_.end_recording();
    operators_.leave_loss_in({});
    recorded_.emplace(key, std::move(pieces_));
  }

  void cut(std::function<void()> then) override {
    end_piece(std::move(then));
    begin_piece();
  }

  void launch(const Key& key, uint64_t first_sample, const Tensor& loss) override {
    operators_.copy_to_device(first_sample_.data(), &first_sample, sizeof(first_sample));
    for (const Piece& piece : recorded_.at(key)) {
      piece.graph->launch(operators_.stream());
      if (piece.then) piece.then();
    }
    operators_.copy(loss.raw(), loss_.raw(), loss.bytes());
  }

 private:
  struct Piece {
    std::unique_ptr<Graph> graph;
    std::function<void()> then;  ///< may be empty
  };

  void begin_piece() {
    pieces_.push_back({std::make_unique<Graph>(), {}});
    pieces_.back().graph->begin_capture(operators_.stream());
  }
  void end_piece(std::function<void()> then) {
    pieces_.back().graph->end_capture(operators_.stream());
    pieces_.back().then = std::move(then);
  }

  Operators& operators_;
  Tensor loss_;          ///< of whatever was launched last
  Buffer first_sample_;  ///< of whatever is launched
  std::vector<Piece> pieces_;
  std::map<Key, std::vector<Piece>> recorded_;
};

}  // namespace

void Operators::begin_recording(const uint64_t* first_sample, uint64_t recorded) {
  CHECK(!recording_);
  recording_ = true;
  recorded_sample_at_ = first_sample;
  recorded_sample_ = recorded;
}

void Operators::end_recording() { recording_ = false; }

DropoutKey Operators::key_of(const Dropout& dropout) const {
  DropoutKey key = dropout_key(dropout);
  if (!recording_ || !key.active()) return key;
  key.first_sample -= recorded_sample_;
  key.added_sample = recorded_sample_at_;
  return key;
}

std::unique_ptr<WorkRecorder> make_recorder(DeviceOperators& operators) {
  return std::make_unique<Recorder>(dynamic_cast<Operators&>(operators));
}

}  // namespace tsugi::cuda
