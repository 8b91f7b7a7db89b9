#include "core/downstream/classify.h"

#include <algorithm>
#include <numeric>

namespace tsugi {

std::vector<std::vector<float>> class_scores(const Context& context, const Transformer& model,
                                             const ClassifierHead& head, std::span<const std::vector<int32_t>> texts,
                                             int64_t rows) {
  CHECK_GT(rows, 0);
  const auto longest = static_cast<size_t>(model.config().context());
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return texts[i].size(); });

  std::vector<std::vector<float>> scores(texts.size());
  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(rows)) {
    const std::span<const size_t> together =
        std::span(order).subspan(begin, std::min(static_cast<size_t>(rows), order.size() - begin));
    const auto count = static_cast<int64_t>(together.size());
    const auto length = static_cast<int64_t>(std::clamp<size_t>(texts[together.back()].size(), 1, longest));
    const Tensor tokens = context.empty({count, length}, DType::kI32);
    const Tensor read = context.empty({count}, DType::kI32);
    ForwardOptions options;  // padding follows a text, where causal attention does not look
    if (head.sees_padding()) options.end_key = context.empty({count, length}, DType::kI32);
    std::fill_n(tokens.data<int32_t>(), count * length, 0);
    for (int64_t row = 0; row < count; ++row) {
      const std::vector<int32_t>& text = texts[together[static_cast<size_t>(row)]];
      const auto used = static_cast<int64_t>(std::min(text.size(), longest));
      std::copy_n(text.begin(), used, tokens.data<int32_t>() + row * length);
      read.data<int32_t>()[row] = static_cast<int32_t>(row * length + head.place(used));
      if (options.end_key.defined()) {
        std::fill_n(options.end_key.data<int32_t>() + row * length, length,
                    static_cast<int32_t>(std::max<int64_t>(used, 1)));
      }
    }
    Tape tape(context, false);
    const Variable state = select_rows(tape, model.hidden(tape, tokens, options), read);
    const Tensor logits = head.scores(context, head.features(tape, state).value);
    for (int64_t row = 0; row < count; ++row) {
      const float* const first = logits.data<float>() + row * logits.shape()[1];
      scores[together[static_cast<size_t>(row)]].assign(first, first + head.labels());
    }
  }
  return scores;
}

}  // namespace tsugi
