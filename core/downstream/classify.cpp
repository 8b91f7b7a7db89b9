#include "core/downstream/classify.h"

#include <algorithm>
#include <numeric>

#include "ops/matmul/matmul.h"

namespace tsugi {

std::vector<std::vector<float>> class_scores(const Context& context, const Transformer& model, const Tensor& head,
                                             std::span<const std::vector<int32_t>> texts, int64_t rows) {
  CHECK_GT(rows, 0);
  const auto longest = static_cast<size_t>(model.config().context());
  const int64_t labels = head.shape()[0];
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
    const Tensor last = context.empty({count}, DType::kI32);
    // Padding follows a text, where causal attention does not look.
    std::fill_n(tokens.data<int32_t>(), count * length, 0);
    for (int64_t row = 0; row < count; ++row) {
      const std::vector<int32_t>& text = texts[together[static_cast<size_t>(row)]];
      const auto used = static_cast<int64_t>(std::min(text.size(), longest));
      std::copy_n(text.begin(), used, tokens.data<int32_t>() + row * length);
      last.data<int32_t>()[row] = static_cast<int32_t>(row * length + std::max<int64_t>(used, 1) - 1);
    }
    Tape tape(context, false);
    const Variable state = select_rows(tape, model.hidden(tape, tokens, ForwardOptions{}), last);
    const Tensor logits = context.empty({count, labels}, DType::kF32);
    matmul(context, state.value, head, logits, {.transpose_b = true});
    for (int64_t row = 0; row < count; ++row) {
      const float* const first = logits.data<float>() + row * labels;
      scores[together[static_cast<size_t>(row)]].assign(first, first + labels);
    }
  }
  return scores;
}

}  // namespace tsugi
