#include "core/train/evaluation.h"

#include <algorithm>

#include "core/train/memory_plan.h"

namespace tsugi {
namespace {

constexpr int64_t kTokensAtOnce[] = {1024, 16384};  // on the CPU, and on a device

}  // namespace

EvaluationSum evaluate_objective(Device device, ThreadPool& pool, Memory& memory, const Transformer& model,
                                 const Objective& objective, int64_t limit,
                                 const std::function<void(const Batch&)>& show) {
  const int64_t all = std::max<int64_t>(1, objective.validation_batches(1, limit));
  const int64_t rows = std::clamp<int64_t>(kTokensAtOnce[device.operators != nullptr] / objective.sequence(), 1, all);
  RunConfig config;
  config.mutable_batch()->set_micro_batch(static_cast<int32_t>(rows));
  StaticArena arena(plan_evaluation_arena(device, model, objective, config), memory);
  EvaluationSum total;
  for (int64_t index = 0; index < objective.validation_batches(rows, limit); ++index) {
    arena.restart();
    Tape tape(Context(device, pool, arena), false);
    const Batch batch = objective.validation_batch(index, rows, limit);
    const EvaluationSum sum = objective.evaluate(tape, model, on_device(tape.context(), batch));
    if (show) show(batch);
    total.loss.sum += sum.loss.sum;
    total.loss.count += sum.loss.count;
    total.correct += sum.correct;
    total.scores.resize(sum.scores.size());
    for (size_t i = 0; i < sum.scores.size(); ++i) total.scores[i].add(sum.scores[i].sum, sum.scores[i].count);
  }
  return total;
}

}  // namespace tsugi
