// Sampling against a plain sort of the whole vocabulary; decoding in bf16 against the same weights in fp32.
#include "core/model/generator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/config/config.h"
#include "core/config/families.h"
#include "ops/reduce/reduce.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::random_values;

/// What sample_token() promises, done plainly: all ids in order, their probabilities added up one by one.
int32_t plain_sample(const std::vector<float>& logits, const Sampling& sampling, double uniform) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto logit = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  if (sampling.top_k > 0) ids.resize(std::min(ids.size(), static_cast<size_t>(sampling.top_k)));
  double total = 0.0;
  const auto weight = [&](int32_t id) {
    return std::exp((static_cast<double>(logit(id)) - static_cast<double>(logit(ids[0]))) / sampling.temperature);
  };
  for (const int32_t id : ids) total += weight(id);
  double kept = 0.0;
  size_t size = 0;
  while (size < ids.size() && (size == 0 || kept < sampling.top_p * total)) kept += weight(ids[size++]);
  double position = kept * uniform;
  for (size_t i = 0; i + 1 < size; ++i) {
    position -= weight(ids[i]);
    if (position < 0.0) return ids[i];
  }
  return ids[size - 1];
}

TEST(Sampling, EqualsAPlainSort) {
  constexpr uint32_t kSite = 0x53000000;  // of the generator's draws
  std::vector<float> logits;
  for (const double value : random_values(5000, 3, 2.0)) {
    logits.push_back(static_cast<float>(std::round(4.0 * value) / 4.0));  // with many equals
  }
  for (const int64_t top_k : {int64_t{0}, int64_t{1}, int64_t{40}, int64_t{3000}, int64_t{9999}}) {
    for (const double top_p : {1.0, 0.9, 0.3, 1e-9}) {
      for (const double temperature : {0.1, 1.0, 30.0}) {
        const Sampling sampling{temperature, top_k, top_p, 11};
        for (uint64_t index = 0; index < 12; ++index) {
          const double uniform = static_cast<double>(uniform_open(RandomStream{11, 0, kSite}.word(index)));
          EXPECT_EQ(sample_token(logits.data(), 5000, sampling, index), plain_sample(logits, sampling, uniform))
              << top_k << " " << top_p << " " << temperature << " " << index;
        }
      }
    }
  }
}

TEST(Sampling, NumbersThatAreNoneAreNoReasonToCrash) {
  std::vector<float> logits(1000, std::numeric_limits<float>::quiet_NaN());
  for (uint64_t index = 0; index < 4; ++index) {
    const int32_t id = sample_token(logits.data(), 1000, Sampling{}, index);
    EXPECT_TRUE(id >= 0 && id < 1000);
  }
}

ModelConfig decoder_model(const std::string& family) {
  ModelConfig model;
  parse_config("layers: 2 heads: 4 width: 64 context: 48 vocabulary: 97 " + family, "test", {}, model);
  resolve_family(model);
  return model;
}

/// A model whose f32 weights are numbers of bf16, in either type.
struct Decoded {
  Decoded(const ModelConfig& config, DType type, int threads) : cpu(threads), model(config, store) {
    store.allocate(cpu, DType::kF32);
    const Tensor exact = store.working();
    store.initial_values(5, 0, store.chunks(), exact.data<float>());
    for (int64_t i = 0; i < exact.elements(); ++i) {
      exact.data<float>()[i] = static_cast<float>(bf16(exact.data<float>()[i]));
    }
    if (type == DType::kF32) return;
    store.allocate(cpu, type);
    convert(cpu, exact, store.working());
  }

  std::vector<int32_t> go_on(int64_t count) const {
    GenerationOptions options;
    options.count = count;
    options.sampling.temperature = 0.0;
    return generate_rows(cpu, model, {{{3, 1, 4, 1, 5}, 0}}, options).front().ids;
  }

  CpuContext cpu;
  ParameterStore store;
  Transformer model;
};

/// Of every token that bf16 chose: how far its fp32 logit, of the whole text at once, lies below the best one, as a
/// part of the logits' range.
TEST(Generation, Bf16ChoosesWhatFp32ThinksNearlyBest) {
  for (const char* family : {"", "family: LLAMA key_heads: 2"}) {
    SCOPED_TRACE(family);
    const ModelConfig config = decoder_model(family);
    const Decoded rounded(config, DType::kBF16, 1);
    const std::vector<int32_t> ids = rounded.go_on(40);
    ASSERT_EQ(ids.size(), 40u);
    EXPECT_EQ(ids, Decoded(config, DType::kBF16, 3).go_on(40)) << "bits depend on threads";

    const Decoded exact(config, DType::kF32, 1);
    std::vector<int32_t> text{3, 1, 4, 1, 5};
    text.insert(text.end(), ids.begin(), ids.end());
    const auto length = static_cast<int64_t>(text.size());
    const Tensor tokens = exact.cpu.context.empty({1, length}, DType::kI32);
    std::ranges::copy(text, tokens.data<int32_t>());
    Tape tape(exact.cpu, false);
    const Tensor hidden = exact.model.hidden(tape, tokens, {}).value;
    const Tensor logits = exact.model.logits(exact.cpu, hidden.reshape({length, 64}));
    for (size_t i = 0; i < ids.size(); ++i) {
      const float* row = logits.data<float>() + static_cast<int64_t>(4 + i) * logits.shape()[1];
      const auto [least, most] = std::minmax_element(row, row + 97);
      EXPECT_LE(*most - row[ids[i]], 0.03f * (*most - *least)) << "token " << i;
    }
  }
}

}  // namespace
}  // namespace tsugi
