#include "core/objective/pair_batch.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/nn/accuracy.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {
namespace {

LossSum loss_of_targets(Tape& tape, const Transformer& model, const Variable& rows, const Batch& batch) {
  CrossEntropyOptions options;
  options.skip_ignored = batch.end_key.defined();  // padding
  return cross_entropy_loss(tape, rows, model.output_weight(), batch.targets, model.config().vocabulary(), {}, options);
}

}  // namespace

Batch shape_of_pair_batch(int64_t rows, const PairShape& shape) {
  const auto integers = [](const Shape& of) { return Tensor::view(nullptr, of, DType::kI32); };
  Batch batch;
  batch.tokens = integers({rows, shape.inputs});
  batch.decoder_tokens = integers({rows, shape.targets});
  batch.targets = integers({rows, shape.targets});
  if (!shape.padded) return batch;
  batch.end_key = integers({rows, shape.inputs});
  batch.memory_end = integers({rows, shape.targets});
  return batch;
}

Batch fill_pairs(const std::vector<TokenPair>& pairs, int64_t rows, const PairShape& shape, int32_t start_token) {
  Batch batch;
  const auto filled = [&](int64_t width, int32_t value) {
    Tensor tensor = host_integers({rows, width});
    std::fill_n(tensor.data<int32_t>(), tensor.elements(), value);
    return tensor;
  };
  batch.tokens = filled(shape.inputs, 0);
  batch.decoder_tokens = filled(shape.targets, start_token);
  batch.targets = filled(shape.targets, kIgnoreIndex);
  if (shape.padded) {
    batch.end_key = filled(shape.inputs, 1);
    batch.memory_end = filled(shape.targets, 1);
  }
  CHECK_LE(static_cast<int64_t>(pairs.size()), rows);
  for (size_t r = 0; r < pairs.size(); ++r) {
    const TokenPair& pair = pairs[r];
    const auto row = static_cast<int64_t>(r);
    const auto inputs = static_cast<int64_t>(pair.input.size());
    const auto targets = static_cast<int64_t>(pair.target.size());
    CHECK(inputs > 0 && (shape.padded ? inputs <= shape.inputs : inputs == shape.inputs)) << inputs;
    CHECK(targets > 0 && targets <= shape.targets) << targets;
    std::ranges::copy(pair.input, batch.tokens.data<int32_t>() + row * shape.inputs);
    std::ranges::copy(pair.target, batch.targets.data<int32_t>() + row * shape.targets);
    std::copy(pair.target.begin(), pair.target.end() - 1,
              batch.decoder_tokens.data<int32_t>() + row * shape.targets + 1);
    if (!shape.padded) continue;
    std::fill_n(batch.end_key.data<int32_t>() + row * shape.inputs, shape.inputs, static_cast<int32_t>(inputs));
    std::fill_n(batch.memory_end.data<int32_t>() + row * shape.targets, shape.targets, static_cast<int32_t>(inputs));
  }
  return batch;
}

Variable decoded_pairs(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) {
  options.end_key = batch.end_key;
  const Variable memory = model.hidden(tape, batch.tokens, options);
  options.end_key = {};
  options.memory_end = batch.memory_end;
  return model.decoded(tape, batch.decoder_tokens, memory, options);
}

LossSum pair_loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) {
  return loss_of_targets(tape, model, model.head_input(tape, decoded_pairs(tape, model, batch, options)), batch);
}

EvaluationSum evaluate_pairs(Tape& tape, const Transformer& model, const Batch& batch) {
  const Variable rows = model.head_input(tape, decoded_pairs(tape, model, batch, {}));
  EvaluationSum sum;
  sum.loss = loss_of_targets(tape, model, rows, batch);
  const Tensor targets = batch.targets.reshape({batch.targets.elements()});
  sum.correct = count_right(tape.context(), as_matrix(rows.value), model.output_weight(), model.output_bias(), targets,
                            model.config().vocabulary());
  return sum;
}

}  // namespace tsugi
