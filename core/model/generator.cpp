#include "core/model/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr uint32_t kSamplingSite = 0x53000000;

/// The model with the caches of one sequence.
class Decoder {
 public:
  Decoder(const Context& context, const Transformer& model)
      : context_(context),
        model_(model),
        caches_(model.make_caches(context, 1, model.config().context())),
        rotary_table_(model.rotary_positions(context, model.config().context())) {}

  int64_t length() const { return caches_.front().length; }
  void clear() {
    for (KeyValueCache& cache : caches_) cache.length = 0;
  }

  /// Feeds the tokens and returns the logits behind the last one.
  const float* feed(const std::vector<int32_t>& tokens) {
    const auto count = static_cast<int64_t>(tokens.size());
    const Tensor input = context_.empty({1, count}, DType::kI32);
    std::copy(tokens.begin(), tokens.end(), input.data<int32_t>());
    Tape tape(context_, false);
    ForwardOptions options;
    options.caches = &caches_;
    options.rotary_table = rotary_table_;
    const Tensor hidden = model_.hidden(tape, input, options).value;
    const int64_t width = hidden.shape()[2];
    logits_ = model_.logits(context_, hidden.slice((count - 1) * width, {1, width}));
    return logits_.data<float>();
  }

 private:
  Context context_;
  const Transformer& model_;
  std::vector<KeyValueCache> caches_;
  Tensor rotary_table_;
  Tensor logits_;
};

}  // namespace

int32_t sample_token(const float* logits, int64_t vocabulary, const Sampling& sampling, uint64_t index) {
  if (sampling.temperature <= 0.0) {
    return static_cast<int32_t>(std::max_element(logits, logits + vocabulary) - logits);
  }
  std::vector<int32_t> ids(static_cast<size_t>(vocabulary));
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (sampling.top_k > 0 && sampling.top_k < vocabulary) ids.resize(static_cast<size_t>(sampling.top_k));

  std::vector<double> weights;
  double total = 0.0;
  for (const int32_t id : ids) {
    const double gap = static_cast<double>(logits[id]) - static_cast<double>(logits[ids.front()]);
    weights.push_back(std::exp(gap / sampling.temperature));
    total += weights.back();
  }
  double kept = 0.0;
  size_t size = 0;
  while (size < ids.size() && (size == 0 || kept < sampling.top_p * total)) kept += weights[size++];

  double position = kept * static_cast<double>(uniform_open(RandomStream{sampling.seed, 0, kSamplingSite}.word(index)));
  for (size_t i = 0; i + 1 < size; ++i) {
    position -= weights[i];
    if (position < 0.0) return ids[i];
  }
  return ids[size - 1];
}

std::vector<int32_t> generate(const Context& context, const Transformer& model, const std::vector<int32_t>& prompt,
                              int64_t count, const Sampling& sampling, const std::function<void(int32_t)>& on_token) {
  CHECK(!prompt.empty());
  const auto capacity = static_cast<size_t>(model.config().context());
  std::vector<int32_t> text = prompt;
  std::vector<int32_t> fresh = prompt;
  if (fresh.size() > capacity) fresh.assign(prompt.end() - static_cast<int64_t>(capacity), prompt.end());
  Decoder decoder(context, model);
  for (int64_t i = 0; i < count; ++i) {
    if (static_cast<size_t>(decoder.length()) + fresh.size() > capacity) {
      const auto window = static_cast<int64_t>(std::max<size_t>(capacity / 2, 1));
      fresh.assign(text.end() - window, text.end());
      decoder.clear();
    }
    const float* logits = decoder.feed(fresh);
    const int32_t token = sample_token(logits, model.config().vocabulary(), sampling, static_cast<uint64_t>(i));
    text.push_back(token);
    fresh.assign(1, token);
    if (on_token) on_token(token);
  }
  return {text.begin() + static_cast<int64_t>(prompt.size()), text.end()};
}

}  // namespace tsugi
