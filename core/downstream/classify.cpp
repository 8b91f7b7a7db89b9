#include "core/downstream/classify.h"

#include "core/data/batch.h"
#include "core/downstream/text_batches.h"
#include "ops/tensor/copy.h"

namespace tsugi {

std::vector<std::vector<float>> class_scores(const Context& context, const Transformer& model,
                                             const ClassifierHead& head, std::span<const std::vector<int32_t>> texts,
                                             int64_t rows) {
  std::vector<std::vector<float>> scores(texts.size());
  for_each_text_outputs(context, model, texts, rows, [&](Tape& tape, const TextOutputs& outputs) {
    const auto count = static_cast<int64_t>(outputs.texts.size());
    const int64_t longest = outputs.hidden.value.shape()[1];
    const Tensor read = host_integers({count});
    for (int64_t row = 0; row < count; ++row) {
      const int64_t place = head.place(outputs.lengths[static_cast<size_t>(row)]);
      read.data<int32_t>()[row] = static_cast<int32_t>(row * longest + place);
    }
    const Variable state = select_rows(tape, outputs.hidden, on_device(context, read));
    const Tensor logits = on_host(context, head.scores(context, head.features(tape, state).value));
    for (int64_t row = 0; row < count; ++row) {
      const float* const first = logits.data<float>() + row * logits.shape()[1];
      scores[outputs.texts[static_cast<size_t>(row)]].assign(first, first + head.labels());
    }
  });
  return scores;
}

}  // namespace tsugi
