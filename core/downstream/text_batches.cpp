#include "core/downstream/text_batches.h"

#include <algorithm>
#include <numeric>

#include "core/data/batch.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"

namespace tsugi {

void for_each_text_outputs(const Context& context, const Transformer& model,
                           std::span<const std::vector<int32_t>> texts, int64_t rows,
                           const std::function<void(Tape&, const TextOutputs&)>& show) {
  CHECK_GT(rows, 0);
  const auto longest = static_cast<size_t>(model.config().context());
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return texts[i].size(); });

  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(rows)) {
    TextOutputs outputs;
    outputs.texts = std::span(order).subspan(begin, std::min(static_cast<size_t>(rows), order.size() - begin));
    const auto count = static_cast<int64_t>(outputs.texts.size());
    const auto length = static_cast<int64_t>(std::clamp<size_t>(texts[outputs.texts.back()].size(), 1, longest));
    const Tensor tokens = host_integers({count, length});
    Tensor end_key;  // else: padding follows a text, where causal attention does not look
    if (model.config().bidirectional()) end_key = host_integers({count, length});
    std::fill_n(tokens.data<int32_t>(), count * length, 0);
    for (int64_t row = 0; row < count; ++row) {
      const std::vector<int32_t>& text = texts[outputs.texts[static_cast<size_t>(row)]];
      const size_t used = std::min(text.size(), longest);
      std::copy_n(text.begin(), used, tokens.data<int32_t>() + row * length);
      outputs.lengths.push_back(std::max<int64_t>(static_cast<int64_t>(used), 1));
      if (end_key.defined()) {
        std::fill_n(end_key.data<int32_t>() + row * length, length, static_cast<int32_t>(outputs.lengths.back()));
      }
    }
    Tape tape(context, false);
    ForwardOptions options;
    options.end_key = on_device(context, end_key);
    outputs.hidden = model.hidden(tape, on_device(context, tokens), options);
    show(tape, outputs);
  }
}

FeatureTable text_features(const Context& context, const Transformer& model,
                           std::span<const std::vector<int32_t>> texts, TextPooling pooling, int64_t rows) {
  FeatureTable table;
  table.width = model.config().width();
  const auto width = static_cast<size_t>(table.width);
  table.values.resize(texts.size() * width);
  for_each_text_outputs(context, model, texts, rows, [&](Tape& /*tape*/, const TextOutputs& outputs) {
    const auto longest = static_cast<size_t>(outputs.hidden.value.shape()[1]);
    const Tensor hidden = floats_on_host(context, outputs.hidden.value);
    for (size_t row = 0; row < outputs.texts.size(); ++row) {
      const auto length = static_cast<size_t>(outputs.lengths[row]);
      const size_t first = pooling == TextPooling::kLast ? length - 1 : 0;
      const size_t end = pooling == TextPooling::kFirst ? 1 : length;
      const float* const tokens = hidden.data<float>() + row * longest * width;
      float* const to = table.values.data() + outputs.texts[row] * width;
      for (size_t c = 0; c < width; ++c) {
        double sum = 0.0;
        for (size_t t = first; t < end; ++t) sum += static_cast<double>(tokens[t * width + c]);
        to[c] = static_cast<float>(sum / static_cast<double>(end - first));
      }
    }
  });
  return table;
}

}  // namespace tsugi
