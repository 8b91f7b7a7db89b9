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

/// What sample_token() promises, done plainly: all ids in order, cut where asked; to the logit of each that is left
/// Gumbel noise of its own is added, and the largest sum wins (Maddison et al. 2014).
int32_t plain_sample(const std::vector<float>& logits, const Sampling& sampling, uint64_t index) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto logit = [&](int32_t id) { return static_cast<double>(logits[static_cast<size_t>(id)]); };
  std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  if (sampling.top_k > 0) ids.resize(std::min(ids.size(), static_cast<size_t>(sampling.top_k)));
  double total = 0.0;
  const auto weight = [&](int32_t id) { return std::exp((logit(id) - logit(ids[0])) / sampling.temperature); };
  for (const int32_t id : ids) total += weight(id);
  double kept = 0.0;
  size_t size = 0;
  while (size < ids.size() && (size == 0 || kept < sampling.top_p * total)) kept += weight(ids[size++]);
  constexpr uint32_t kSite = 0x53000000;  // of the generator's draws
  const auto noise = [&](int32_t id) {
    const RandomStream stream{sampling.seed, index, kSite};
    const uint64_t word = 2 * static_cast<uint64_t>(id);
    const uint64_t bits = ((uint64_t{stream.word(word)} << 32) + stream.word(word + 1)) / 4096;
    return -std::log(-std::log((static_cast<double>(bits) + 0.5) / 4503599627370496.0));
  };
  const auto sum = [&](int32_t id) { return logit(id) / sampling.temperature + noise(id); };
  ids.resize(size);
  return std::ranges::max(ids, {}, sum);
}

TEST(Sampling, EqualsAPlainSort) {
  std::vector<float> logits;
  for (const double value : random_values(5000, 3, 2.0)) {
    logits.push_back(static_cast<float>(std::round(4.0 * value) / 4.0));  // with many equals
  }
  for (const int64_t top_k : {int64_t{0}, int64_t{1}, int64_t{40}, int64_t{3000}, int64_t{9999}}) {
    for (const double top_p : {1.0, 0.9, 0.3, 1e-9}) {
      for (const double temperature : {0.1, 1.0, 30.0}) {
        const Sampling sampling{temperature, top_k, top_p, 11};
        for (uint64_t index = 0; index < 12; ++index) {
          EXPECT_EQ(sample_token(logits.data(), 5000, sampling, index), plain_sample(logits, sampling, index))
              << top_k << " " << top_p << " " << temperature << " " << index;
        }
      }
    }
  }
}

/// 20,000 draws, and how often each id came: within five standard deviations of its probability.
TEST(Sampling, DrawsWithTheProbabilitiesOfTheSoftmax) {
  const std::vector<float> logits{0.3f, -1.0f, 2.0f, 0.3f, -4.0f, 1.1f};
  for (const Sampling& sampling : {Sampling{1.0, 0, 1.0, 7}, Sampling{0.5, 0, 1.0, 8}, Sampling{2.0, 4, 1.0, 9}}) {
    constexpr int kDraws = 20000;
    std::vector<double> counts(logits.size()), probabilities(logits.size());
    for (uint64_t index = 0; index < kDraws; ++index)
      ++counts[static_cast<size_t>(sample_token(logits.data(), 6, sampling, index))];
    double total = 0.0;
    for (size_t id = 0; id < 6; ++id) {
      const bool kept = sampling.top_k == 0 || (id != 1 && id != 4);
      probabilities[id] = kept ? std::exp(static_cast<double>(logits[id]) / sampling.temperature) : 0.0;
      total += probabilities[id];
    }
    for (size_t id = 0; id < 6; ++id) {
      const double probability = probabilities[id] / total;
      EXPECT_NEAR(counts[id] / kDraws, probability, 5.0 * std::sqrt(probability * (1.0 - probability) / kDraws)) << id;
    }
  }
}

/// Batches of other sizes and other CPUs round logits otherwise. What is drawn stays, though hundreds of ids are nearly
/// equal.
TEST(Sampling, RoundingChangesNoDraw) {
  std::vector<float> logits, rounded;
  const std::vector<double> noise = random_values(2000, 4, 1.0);
  for (const double value : random_values(2000, 3, 0.5)) {
    logits.push_back(static_cast<float>(value));
    rounded.push_back(static_cast<float>(value + 1e-7 * noise[rounded.size()]));
  }
  for (const Sampling& sampling : {Sampling{0.9, 0, 1.0, 5}, Sampling{1.0, 50, 1.0, 5}, Sampling{1.0, 0, 0.9, 5}}) {
    for (uint64_t index = 0; index < 2000; ++index) {
      ASSERT_EQ(sample_token(logits.data(), 2000, sampling, index), sample_token(rounded.data(), 2000, sampling, index))
          << index;
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

/// Texts of several lengths, so that padding stands before most of them, in memory that is full of NaN.
TEST(Generation, PaddingBeforeATextReachesNothing) {
  for (const char* family :
       {"", "family: LLAMA key_heads: 2", "family: QWEN3 key_heads: 2 head_dim: 8 sliding_window: 5"}) {
    for (const DType type : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(std::string(family) + " " + std::string(name_of(type)));
      const Decoded model(decoder_model(family), type, 1);
      GenerationOptions options;
      options.count = 12;
      options.sampling.temperature = 0.0;
      const std::vector<GenerationRow> rows{{{3}, 1},
                                            {{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3}, 2},
                                            {{2, 7, 1, 8, 2}, 3},
                                            {{1, 4, 1, 4, 2, 1, 3, 5, 6}, 4}};
      const std::vector<Continuation> together = generate_rows(model.cpu, model.model, rows, options);
      for (size_t row = 0; row < rows.size(); ++row) {
        EXPECT_EQ(together[row].ids, generate_rows(model.cpu, model.model, {rows[row]}, options).front().ids) << row;
      }
    }
  }
}

}  // namespace
}  // namespace tsugi
