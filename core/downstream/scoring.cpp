#include "core/downstream/scoring.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "core/data/batch.h"
#include "ops/base/error.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr int64_t kLengthStep = 32;  // lengths are rounded up, so that few shapes occur

/// A sequence as the model sees it: inputs, and targets where they are scored.
struct Row {
  std::span<const int32_t> tokens;
  int64_t begin = 0;
  int64_t inputs() const { return static_cast<int64_t>(tokens.size()) - 1; }
};

Row fit(const ScoredSequence& sequence, int64_t index, int64_t context) {
  const auto size = static_cast<int64_t>(sequence.tokens.size());
  CHECK(sequence.begin >= 1 && sequence.begin < size) << "sequence " << index;
  if (size - sequence.begin > context) {
    throw Error(ExitCode::kData, "sequence " + std::to_string(index) + " has " + std::to_string(size - sequence.begin) +
                                     " tokens to score, but the model reads " + std::to_string(context) + " at once");
  }
  const int64_t dropped = std::max<int64_t>(size - context - 1, 0);
  return {std::span(sequence.tokens).subspan(static_cast<size_t>(dropped)), sequence.begin - dropped};
}

/// The scores of the rows, in their order.
std::vector<double> score_rows(const Context& context, const Transformer& model, std::span<const Row> rows) {
  int64_t length = 0;
  for (const Row& row : rows) length = std::max(length, row.inputs());
  length = std::min((length + kLengthStep - 1) / kLengthStep * kLengthStep, int64_t{model.config().context()});
  const auto count = static_cast<int64_t>(rows.size());
  const Batch batch = padding_batch(count, length, Documents::kJoined);
  for (int64_t i = 0; i < count; ++i) {
    const Row& row = rows[static_cast<size_t>(i)];
    std::copy_n(row.tokens.begin(), row.inputs(), batch.tokens.data<int32_t>() + i * length);
    std::copy(row.tokens.begin() + row.begin, row.tokens.end(),
              batch.targets.data<int32_t>() + i * length + row.begin - 1);
  }
  Tape tape(context, false);
  const Tensor losses = context.empty({count * length}, DType::kF32);
  const Variable hidden = model.hidden(tape, on_device(context, batch.tokens), ForwardOptions{});
  cross_entropy_loss(tape, hidden, model.output_weight(), on_device(context, batch.targets),
                     model.config().vocabulary(), losses, {.soft_cap = model.config().logit_soft_cap()});
  const Tensor host_losses = on_host(context, losses);
  std::vector<double> scores;
  for (int64_t i = 0; i < count; ++i) {
    const float* row = host_losses.data<float>() + i * length;
    const int64_t end = rows[static_cast<size_t>(i)].inputs();
    scores.push_back(-std::accumulate(row + rows[static_cast<size_t>(i)].begin - 1, row + end, 0.0));
  }
  return scores;
}

}  // namespace

std::vector<double> score_sequences(Communicator& communicator, const Context& context, const Transformer& model,
                                    std::span<const ScoredSequence> sequences, int64_t rows) {
  CHECK_GT(rows, 0);
  std::vector<Row> all;
  for (const ScoredSequence& sequence : sequences) {
    all.push_back(fit(sequence, static_cast<int64_t>(all.size()), model.config().context()));
  }
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return all[a].inputs() < all[b].inputs(); });

  const auto ranks = static_cast<size_t>(communicator.size());
  const auto batch = static_cast<size_t>(rows);
  const size_t batches = (all.size() + batch - 1) / batch;
  std::string mine;
  for (auto index = static_cast<size_t>(communicator.rank()); index < batches; index += ranks) {
    std::vector<Row> together;
    for (size_t i = index * batch; i < std::min((index + 1) * batch, all.size()); ++i)
      together.push_back(all[order[i]]);
    const std::vector<double> scores = score_rows(context, model, together);
    mine.append(reinterpret_cast<const char*>(scores.data()), scores.size() * sizeof(double));
  }
  const std::vector<std::string> of_ranks = communicator.all_gather_strings(mine);
  std::vector<double> scores(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t index = i / batch;
    const size_t place = index / ranks * batch + i % batch;
    std::memcpy(&scores[order[i]], of_ranks[index % ranks].data() + place * sizeof(double), sizeof(double));
  }
  return scores;
}

}  // namespace tsugi
